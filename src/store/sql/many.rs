//! Parameters of statements that take many rows at once.

/// `($1, $2, …)`.
pub fn list(length: usize) -> String {
    row(1, length)
}

/// `($1, $2), ($3, $4), …`.
pub fn rows(width: usize, rows: usize) -> String {
    let rows: Vec<String> = (0..rows).map(|index| row(index * width + 1, width)).collect();
    rows.join(", ")
}

fn row(first: usize, width: usize) -> String {
    let parameters: Vec<String> = (first..first + width).map(|number| format!("${number}")).collect();
    format!("({})", parameters.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_numbered_from_one() {
        assert_eq!(list(3), "($1, $2, $3)");
        assert_eq!(rows(2, 2), "($1, $2), ($3, $4)");
    }
}
