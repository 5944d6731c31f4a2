//! The cryptography of tokens' signatures, by the same library that TLS uses: `jsonwebtoken` leaves it to a provider.
//!
//! Which algorithm may be used with which key is decided by whoever holds the key. A key of another family than its
//! algorithm's is refused here all the same.

use jsonwebtoken::crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{ErrorKind, Result};
use jsonwebtoken::signature::{Error, Signer, Verifier};
use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind, EncodingKey};
use ring::hmac;
use ring::rand::SystemRandom;
use ring::signature as scheme;
use ring::signature::{EcdsaKeyPair, Ed25519KeyPair, RsaKeyPair, RsaPublicKeyComponents, UnparsedPublicKey};

/// Has `jsonwebtoken` use this cryptography from now on. It may be called any number of times.
pub fn install() {
    // It fails when it was installed before.
    PROVIDER.install_default().ok();
}

static PROVIDER: CryptoProvider = CryptoProvider {
    signer_factory: |algorithm, key| match key.family() == algorithm.family() {
        true => Ok(Box::new(Signing { algorithm: *algorithm, key: SigningKey::read(*algorithm, key)? })),
        false => Err(ErrorKind::InvalidKeyFormat.into()),
    },
    verifier_factory: |algorithm, key| match key.family() == algorithm.family() {
        true => Ok(Box::new(Verifying { algorithm: *algorithm, key: key.clone() })),
        false => Err(ErrorKind::InvalidKeyFormat.into()),
    },
    // JSON Web Keys are read by ourselves.
    key_utils: KeyUtils::new_unimplemented(),
};

struct Signing {
    algorithm: Algorithm,
    key: SigningKey,
}

enum SigningKey {
    Secret(hmac::Key),
    Rsa(RsaKeyPair),
    Ec(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
}

impl SigningKey {
    fn read(algorithm: Algorithm, key: &EncodingKey) -> Result<SigningKey> {
        let bytes = key.as_bytes();
        let ec = |curve| {
            let pair = EcdsaKeyPair::from_pkcs8(curve, bytes, &SystemRandom::new());
            pair.map(SigningKey::Ec).map_err(|_| ErrorKind::InvalidEcdsaKey.into())
        };
        match algorithm {
            Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512 => {
                Ok(SigningKey::Secret(hmac::Key::new(hash(algorithm), bytes)))
            }
            Algorithm::ES256 => ec(&scheme::ECDSA_P256_SHA256_FIXED_SIGNING),
            Algorithm::ES384 => ec(&scheme::ECDSA_P384_SHA384_FIXED_SIGNING),
            Algorithm::EdDSA => {
                let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(bytes);
                pair.map(SigningKey::Ed).map_err(|_| ErrorKind::InvalidEddsaKey.into())
            }
            _ => {
                let pair = RsaKeyPair::from_der(bytes);
                pair.map(SigningKey::Rsa).map_err(|fault| ErrorKind::InvalidRsaKey(fault.to_string()).into())
            }
        }
    }
}

impl Signer<Vec<u8>> for Signing {
    fn try_sign(&self, message: &[u8]) -> std::result::Result<Vec<u8>, Error> {
        let random = SystemRandom::new();
        match &self.key {
            SigningKey::Secret(key) => Ok(hmac::sign(key, message).as_ref().to_vec()),
            SigningKey::Ed(pair) => Ok(pair.sign(message).as_ref().to_vec()),
            SigningKey::Ec(pair) => match pair.sign(&random, message) {
                Ok(signature) => Ok(signature.as_ref().to_vec()),
                Err(_) => Err(Error::new()),
            },
            SigningKey::Rsa(pair) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                let padding = rsa_padding(self.algorithm).ok_or_else(Error::new)?;
                pair.sign(padding, &random, message, &mut signature).map_err(|_| Error::new())?;
                Ok(signature)
            }
        }
    }
}

impl JwtSigner for Signing {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

struct Verifying {
    algorithm: Algorithm,
    key: DecodingKey,
}

impl Verifier<Vec<u8>> for Verifying {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> std::result::Result<(), Error> {
        let verified = match (self.key.kind(), rsa(self.algorithm), point(self.algorithm)) {
            (DecodingKeyKind::RsaModulusExponent { n, e }, Some(rsa), _) => {
                RsaPublicKeyComponents { n, e }.verify(rsa, message, signature)
            }
            (DecodingKeyKind::SecretOrDer(key), Some(rsa), _) => {
                UnparsedPublicKey::new(rsa, key).verify(message, signature)
            }
            (DecodingKeyKind::SecretOrDer(key), _, Some(scheme)) => {
                UnparsedPublicKey::new(scheme, key).verify(message, signature)
            }
            (DecodingKeyKind::SecretOrDer(key), None, None) => {
                hmac::verify(&hmac::Key::new(hash(self.algorithm), key), message, signature)
            }
            (DecodingKeyKind::RsaModulusExponent { .. }, None, _) => return Err(Error::new()),
        };
        verified.map_err(|_| Error::new())
    }
}

impl JwtVerifier for Verifying {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

fn hash(algorithm: Algorithm) -> hmac::Algorithm {
    match algorithm {
        Algorithm::HS384 => hmac::HMAC_SHA384,
        Algorithm::HS512 => hmac::HMAC_SHA512,
        _ => hmac::HMAC_SHA256,
    }
}

fn rsa_padding(algorithm: Algorithm) -> Option<&'static dyn scheme::RsaEncoding> {
    match algorithm {
        Algorithm::RS256 => Some(&scheme::RSA_PKCS1_SHA256),
        Algorithm::RS384 => Some(&scheme::RSA_PKCS1_SHA384),
        Algorithm::RS512 => Some(&scheme::RSA_PKCS1_SHA512),
        Algorithm::PS256 => Some(&scheme::RSA_PSS_SHA256),
        Algorithm::PS384 => Some(&scheme::RSA_PSS_SHA384),
        Algorithm::PS512 => Some(&scheme::RSA_PSS_SHA512),
        _ => None,
    }
}

fn rsa(algorithm: Algorithm) -> Option<&'static scheme::RsaParameters> {
    match algorithm {
        Algorithm::RS256 => Some(&scheme::RSA_PKCS1_2048_8192_SHA256),
        Algorithm::RS384 => Some(&scheme::RSA_PKCS1_2048_8192_SHA384),
        Algorithm::RS512 => Some(&scheme::RSA_PKCS1_2048_8192_SHA512),
        Algorithm::PS256 => Some(&scheme::RSA_PSS_2048_8192_SHA256),
        Algorithm::PS384 => Some(&scheme::RSA_PSS_2048_8192_SHA384),
        Algorithm::PS512 => Some(&scheme::RSA_PSS_2048_8192_SHA512),
        _ => None,
    }
}

/// The scheme of algorithms whose keys are points of a curve.
fn point(algorithm: Algorithm) -> Option<&'static dyn scheme::VerificationAlgorithm> {
    match algorithm {
        Algorithm::ES256 => Some(&scheme::ECDSA_P256_SHA256_FIXED),
        Algorithm::ES384 => Some(&scheme::ECDSA_P384_SHA384_FIXED),
        Algorithm::EdDSA => Some(&scheme::ED25519),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::crypto;

    use super::*;

    #[test]
    fn a_key_of_another_family_is_refused() {
        install();
        install();
        let (secret, point) = (DecodingKey::from_secret(&[1; 64]), DecodingKey::from_ed_der(&[1; 32]));
        for (key, algorithm) in [
            (&secret, Algorithm::RS256),
            (&secret, Algorithm::ES256),
            (&secret, Algorithm::EdDSA),
            (&point, Algorithm::HS256),
            (&point, Algorithm::ES384),
            (&point, Algorithm::PS512),
        ] {
            assert!(crypto::verify("AAAA", b"message", key, algorithm).is_err(), "{algorithm:?}");
        }
        let key = EncodingKey::from_secret(&[1; 64]);
        assert!(crypto::sign(b"message", &key, Algorithm::RS256).is_err());
        for algorithm in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
            let signature = crypto::sign(b"message", &key, algorithm).unwrap();
            assert!(crypto::verify(&signature, b"message", &secret, algorithm).unwrap());
            assert!(!crypto::verify(&signature, b"another", &secret, algorithm).unwrap());
        }
    }
}
