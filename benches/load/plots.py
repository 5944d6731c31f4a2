"""Plots of what was measured, as the text of an SVG: bars, latencies by percentile, a value's course over time.

They are shown as images on light pages and dark ones: each brings its own card, and needs no style sheet, script or font file.
"""

import html
import itertools
import math
import re
import statistics
import unicodedata

WIDTH, PAD = 760, 26
INNER = WIDTH - 2 * PAD
PLOT = 300
FONT = "-apple-system, BlinkMacSystemFont, 'Segoe UI', 'Noto Sans', Helvetica, Arial, sans-serif"
CARD, EDGE, GRID, INK, MUTED = "#fcfcfb", "#d5d9de", "#e6e8eb", "#1f2328", "#59636e"
ACCENT, SECOND, NEUTRAL = "#1d63c4", "#b05a0a", "#8a939d"
# Bars have their labels beside them, lines cross: they need hues to be told apart, and dashes where these are used up.
OTHERS, DASHES = ["#5d6772", "#7d4f9b", "#2f7d6b", "#a8435a"], ["none", "7 4", "2 4"]
TIMES = {"us": 1, "µs": 1, "ms": 1e3, "s": 1e6}
STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400]


def bars(title, unit, rows, reference=None):
    """`rows`: (label, median, lowest, highest). With the label of a `reference` each value's ratio to it, too."""
    if not rows:
        return empty(title, unit)
    base = next((median for label, median, *_ in rows if label == reference), 0)
    notes = [ratio(median / base) if base else "" for _, median, *_ in rows]
    names = [wrap(label, 13, 230) for label, *_ in rows]
    left = max(width(line, 13) for lines in names for line in lines) + 14
    tail = max(width(f"{number(row[1])}  {note}", 14) for row, note in zip(rows, notes)) + 16
    scale = (INNER - left - tail) / (max(max(row[1:]) for row in rows) or 1)
    marks, pitch = [], 40
    for index, ((label, median, lowest, highest), name, note) in enumerate(zip(rows, names, notes)):
        y, end = pitch * (index + 0.5), left + median * scale
        marks += [text(left - 14, y + 15 * (n - (len(name) - 1) / 2), line, anchor="end") for n, line in enumerate(name)]
        # What is too small to be seen still gets a hair, but zero is zero.
        long = max(end - left, 2) if median else 0
        marks.append(f'<rect x="{left:.1f}" y="{y - 12:.1f}" width="{long:.1f}" height="24" rx="2" fill="{colour(label)}"/>')
        if lowest < highest:
            start, stop = left + lowest * scale, left + highest * scale
            whisker = f"M{start:.1f} {y - 5:.1f}v10M{start:.1f} {y:.1f}H{stop:.1f}M{stop:.1f} {y - 5:.1f}v10"
            # The halo parts it from a bar as dark as itself.
            marks += [path(whisker, CARD, 3.5, opacity=0.55), path(whisker, INK, 1.3)]
        marks.append(text(max(end, left + highest * scale) + 9, y, number(median), 14, weight=600, note=note))
    height = pitch * len(rows)
    marks.append(path(f"M{left:.1f} 0V{height}", MUTED, 1))
    told = [f"{label}: {number(median)} ({number(low)} to {number(high)}) {note}" for (label, median, low, high), note in zip(rows, notes)]
    subtitle = f"{unit} · median, whisker from lowest to highest" + (f" · × of {reference}" if base else "")
    return card(title, subtitle, told, height, marks)


def percentiles(title, unit, lines):
    """`lines`: for each label its (quantile, value)s. The further to the right, the rarer: each decade is a nine more."""
    # A logarithm knows neither a zero nor the quantile 1.
    lines = {label: sorted((-math.log10(1 - q), v) for q, v in points if q <= 0.9999 and v > 0) for label, points in lines.items()}
    lines = {label: points for label, points in lines.items() if points}
    if not lines:
        return empty(title, unit, "Nothing above zero was measured.")
    # The ticks of times tell their units themselves.
    subtitle = f"{'by' if unit in TIMES else f'{unit} by'} percentile · both axes logarithmic"
    show = lambda value, digits=number: duration(value * TIMES[unit], digits) if unit in TIMES else digits(value)
    values = [value for points in lines.values() for _, value in points]
    ups = decades(min(values), max(values))
    furthest = max(max(points[-1][0] for points in lines.values()), 1)
    names = {label: fit(label, 13, 180) for label in lines}
    left = max(width(show(tick, plain), 12) for tick in ups) + 10
    right = INNER - max(width(f"{show(lines[label][-1][1])}  {names[label]}", 13) for label in lines) - 26
    height = max(PLOT, 18 * len(lines))
    x = lambda nines: left + (right - left) * nines / furthest
    y = lambda value: height * (1 - math.log(value / ups[0]) / math.log(ups[-1] / ups[0]))
    across = [(x(-math.log10(1 - q)), f"{q * 100:g} %") for q in (0.5, 0.9, 0.99, 0.999, 0.9999) if -math.log10(1 - q) <= furthest + 1e-9]
    marks = grid(left, right, height, across, [(y(tick), show(tick, plain)) for tick in ups])
    ends = sorted(lines, key=lambda label: y(lines[label][-1][1]))
    styles, heights = strokes(lines), apart([y(lines[label][-1][1]) for label in ends], 18, 4, height - 4)
    # What the page is about lies on top.
    for label in sorted(lines, key=lambda label: label.startswith("gatekeeper")):
        hue, dashes = styles[label]
        points = [(x(nines), y(value)) for nines, value in lines[label]]
        marks += [path(course_of(points), hue, 2.2, dashes), dot(*points[-1], hue)]
    for label, place in zip(ends, heights):
        nines, value = lines[label][-1]
        hue = styles[label][0]
        marks.append(path(f"M{x(nines) + 5:.1f} {y(value):.1f}L{right + 17:.1f} {place:.1f}", hue, 1, opacity=0.6))
        marks.append(text(right + 21, place, show(value), fill=hue, weight=600, note=names[label]))
    told = [f"{label}: {show(points[-1][1])} at {100 - 100 / 10 ** points[-1][0]:.6g} %" for label, points in lines.items()]
    return card(title, subtitle, told, height + 24, marks)


def course(title, unit, points):
    """`points`: (seconds, value), from zero."""
    if not points:
        return empty(title, unit)
    points = sorted(points)
    first, last, top = points[0], points[-1], max(points, key=lambda point: point[1])
    end, ups = last[0] or 1, ticks(top[1])
    step = next((step for step in STEPS if step >= end / 7), math.ceil(end / 7 / 86400) * 86400)
    size, name = next((size, name) for size, name in [(86400, "d"), (3600, "h"), (60, "min"), (0, "s")] if step >= size)
    left = max(width(plain(tick), 12) for tick in ups) + 10
    right = INNER - width(number(last[1]), 14) - 14
    x = lambda seconds: left + (right - left) * seconds / end
    y = lambda value: PLOT * (1 - value / ups[-1])
    across = [(x(n * step), f"{plain(n * step / (size or 1))} {name}" if n else "0") for n in range(int(end / step + 1e-9) + 1)]
    marks = grid(left, right, PLOT, across, [(y(tick), plain(tick)) for tick in ups])
    # No screen shows more than the lowest and the highest of a pixel.
    columns = {}
    for seconds, value in points:
        columns.setdefault(round(x(seconds)), []).append((x(seconds), y(value)))
    drawn = [point for column in columns.values() for point in sorted({min(column, key=lambda p: p[1]), max(column, key=lambda p: p[1])})]
    line = course_of(drawn)
    marks.append(f'<path d="{line}V{PLOT}H{drawn[0][0]:.1f}Z" fill="{ACCENT}" fill-opacity="0.09"/>')
    marks += [path(line, ACCENT, 2), dot(x(last[0]), y(last[1]), ACCENT)]
    marks.append(text(x(last[0]) + 10, y(last[1]), number(last[1]), 14, fill=ACCENT, weight=600))
    if top[1] > last[1]:
        said = f"highest {number(top[1])}"
        half = width(said, 12) / 2
        marks.append(dot(x(top[0]), y(top[1]), ACCENT))
        marks.append(text(min(max(x(top[0]), left + half), right - half), y(top[1]) - 14, said, 12, MUTED, "middle"))
    told = [f"first {number(first[1])}", f"highest {number(top[1])}", f"last {number(last[1])} after {number(last[0])} s"]
    return card(title, f"{unit} over time", told, PLOT + 24, marks)


def card(title, subtitle, told, height, marks):
    """`told`: what a reader who cannot see the plot is told. `marks` are drawn below the head, and inside of the padding."""
    titles, subtitles = wrap(title, 18, INNER), wrap(subtitle, 12.5, INNER)
    head = [text(0, 8 + 22 * n, line, 17, weight=600) for n, line in enumerate(titles)]
    head += [text(0, 9 + 22 * len(titles) + 17 * n, line, 12.5, MUTED) for n, line in enumerate(subtitles)]
    down = PAD + 22 * len(titles) + 17 * len(subtitles) + 26
    total = math.ceil(down + height + PAD)
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" width="{WIDTH}" height="{total}" viewBox="0 0 {WIDTH} {total}" font-family="{FONT}">',
        f"<title>{escape(title)}</title>",
        f"<desc>{escape(f'{subtitle}. ' + '; '.join(part.strip() for part in told))}</desc>",
        f'<rect x="0.5" y="0.5" width="{WIDTH - 1}" height="{total - 1}" rx="10" fill="{CARD}" stroke="{EDGE}"/>',
        f'<g transform="translate({PAD} {PAD})">', *head, "</g>",
        f'<g transform="translate({PAD} {down})">', *marks, "</g>",
        "</svg>\n",
    ])


def empty(title, unit, why="Nothing was measured."):
    return card(title, unit, [why], 60, [text(INNER / 2, 24, why, 14, MUTED, "middle")])


def grid(left, right, height, across, up):
    marks = [path(f"M{left:.1f} {y:.1f}H{right:.1f}", GRID, 1) + text(left - 10, y, label, 12, MUTED, "end") for y, label in up]
    marks += [path(f"M{x:.1f} {height}v5", MUTED, 1) + text(x, height + 17, label, 12, MUTED, "middle") for x, label in across]
    return marks + [path(f"M{left:.1f} {height}H{right:.1f}", MUTED, 1)]


def text(x, y, content, size=13, fill=INK, anchor="start", weight=400, note=""):
    """Its middle is at the height `y`. The `note` follows it, less loud."""
    note = f'<tspan dx="8" fill="{MUTED}" font-weight="400">{escape(note)}</tspan>' if note else ""
    place = f'x="{x:.1f}" y="{y + 0.35 * size:.1f}" font-size="{size}" text-anchor="{anchor}"'
    return f'<text {place} fill="{fill}" font-weight="{weight}">{escape(content)}{note}</text>'


def path(course, stroke, thickness, dashes="none", opacity=1):
    look = f'stroke="{stroke}" stroke-width="{thickness}" stroke-dasharray="{dashes}" stroke-opacity="{opacity}"'
    return f'<path d="{course}" fill="none" stroke-linejoin="round" {look}/>'


def course_of(points):
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)


def dot(x, y, fill):
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{fill}" stroke="{CARD}" stroke-width="1.5"/>'


def escape(content):
    """Not all that a string may hold may be in XML, not even escaped."""
    return html.escape(re.sub("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "\ufffd", content))


def colour(label):
    return ACCENT if label.startswith("gatekeeper") else SECOND if label.startswith("bare Pingora") else NEUTRAL


def strokes(labels):
    """For each label a hue, and dashes if the hue is another's already."""
    styles, others = {}, itertools.cycle(OTHERS)
    for label in labels:
        hue = next(others) if colour(label) == NEUTRAL else colour(label)
        styles[label] = hue, DASHES[sum(used == hue for used, _ in styles.values()) % len(DASHES)]
    return styles


def width(content, size):
    """An estimate, rather too wide: the reader's font is not known."""
    broad = lambda char: 1 if unicodedata.east_asian_width(char) in "WF" or char in "mwMW@%…" else 0.36 if char in "ijltfr.,:;'|!()[] " else 0.65
    return size * sum(map(broad, content))


def fit(content, size, room):
    """Labels often differ at their end: what is too long loses its middle."""
    fitted, keep = content, len(content)
    while width(fitted, size) > room:
        keep -= 1
        fitted = content[: (keep + 1) // 2].rstrip() + "…" + content[len(content) - keep // 2 :].lstrip()
    return fitted


def wrap(content, size, room):
    """At most two lines."""
    first, rest = "", content.split()
    while rest and width(f"{first} {rest[0]}", size) <= room:
        first = f"{first} {rest.pop(0)}".strip()
    lines = [first, " ".join(rest)]
    return [fit(line, size, room) for line in lines if line] or [""]


def number(value):
    """Three digits, and all those before the point."""
    size = abs(value)
    return f"{value:.3g}" if size >= 1e9 or size < 1 else f"{value:,.{0 if size >= 100 else 1 if size >= 10 else 2}f}"


def plain(value):
    return f"{value:,.10g}"


def ratio(value):
    return f"×{value:.2f}" if 0.1 <= value < 10 else f"×{number(value)}"


def duration(micros, digits):
    # What rounds to 1,000 us is 1.00 ms.
    size, unit = next((size, unit) for size, unit in [(1e6, "s"), (1e3, "ms"), (0, "us")] if micros >= size * 0.9995)
    return f"{digits(micros / (size or 1))} {unit}"


def ticks(highest):
    """From zero to what is not below the highest, about five, in steps of 1, 2 or 5 and their decades."""
    rough = highest / 5 if highest > 0 else 1
    decade = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * decade for factor in (1, 2, 5, 10) if factor * decade >= rough * (1 - 1e-9))
    return [n * step for n in range(max(math.ceil(highest / step - 1e-9), 1) + 1)]


def decades(lowest, highest):
    """Ticks of a logarithmic axis that holds both, as dense as can be read."""
    if lowest == highest:
        lowest, highest = lowest * 0.9, highest * 1.1
    low, high = math.floor(math.log10(lowest)), math.ceil(math.log10(highest)) + 1
    for factors, step in [((1, 2, 5), 1), ((1,), 1)] + [((1,), step) for step in range(2, 600)]:
        all_ticks = [factor * 10.0**n for n in range(low, high + step, step) for factor in factors]
        start = max(n for n, tick in enumerate(all_ticks) if tick <= lowest * (1 + 1e-9))
        stop = next(n for n, tick in enumerate(all_ticks) if n > start and tick >= highest * (1 - 1e-9))
        if stop - start <= 9:
            return all_ticks[start : stop + 1]


def apart(heights, pitch, top, bottom):
    """The heights, which rise, moved as little as leaves a pitch between any two."""
    # Less a pitch for each before it, a height needs but not to be below the one before: those that are share their mean.
    groups = []
    for index, height in enumerate(heights):
        groups.append([height - index * pitch])
        while len(groups) > 1 and statistics.mean(groups[-2]) > statistics.mean(groups[-1]):
            groups[-2:] = [groups[-2] + groups[-1]]
    moved = [statistics.mean(group) for group in groups for _ in group]
    return [max(min(place, bottom - (len(heights) - 1) * pitch), top) + n * pitch for n, place in enumerate(moved)]
