"""Tokens for the load: RS256, by a key made for the run."""

import base64
import hashlib
import json
import re
import subprocess
import time

# PKCS #1: what stands before a SHA-256 in a signature (RFC 8017, 9.2).
PREFIX = bytes.fromhex("3031300d060960864801650304020105000420")


class Key:
    """A key of 2048 bits."""

    def __init__(self, folder):
        self.private, self.public = folder / "private.pem", folder / "public.pem"
        subprocess.run(["openssl", "genrsa", "-out", self.private, "2048"], check=True, capture_output=True)
        subprocess.run(["openssl", "rsa", "-in", self.private, "-pubout", "-out", self.public], check=True, capture_output=True)
        told = subprocess.run(["openssl", "rsa", "-in", self.private, "-noout", "-text"], check=True, capture_output=True, text=True).stdout
        number = lambda name: int(re.sub(r"[\s:]", "", re.search(rf"{name}:\s*\n((?:\s+[0-9a-f:]+\n)+)", told)[1]), 16)
        self.p, self.q, self.d_p, self.d_q, self.inverse = map(number, ["prime1", "prime2", "exponent1", "exponent2", "coefficient"])

    def token(self, subject, **claims):
        now = int(time.time())
        claims = {"iss": "bench", "aud": "bench", "sub": subject, "iat": now, "exp": now + 86400, **claims}
        signed = b".".join(encode(json.dumps(part, separators=(",", ":")).encode()) for part in [{"alg": "RS256", "typ": "JWT"}, claims])
        return (signed + b"." + encode(self.sign(signed))).decode()

    def sign(self, message):
        digest = PREFIX + hashlib.sha256(message).digest()
        padded = int.from_bytes(b"\x00\x01" + b"\xff" * (256 - 3 - len(digest)) + b"\x00" + digest, "big")
        # By the Chinese remainder theorem: four times as fast.
        one, other = pow(padded, self.d_p, self.p), pow(padded, self.d_q, self.q)
        return (other + (one - other) * self.inverse % self.p * self.q).to_bytes(256, "big")


def encode(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=")
