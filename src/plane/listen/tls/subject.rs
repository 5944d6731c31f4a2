//! Whom a client is taken for by its certificate.

use ring::digest::{SHA256, digest};
use x509_parser::der_parser::asn1_rs::ToDer;
use x509_parser::prelude::{AttributeTypeAndValue, FromDer, RelativeDistinguishedName, X509Certificate, X509Name};

/// Who a client's certificate says it is: its subject by RFC 4514, in ASCII, so that two subjects never look the same;
/// and the SHA-256 of the whole in hexadecimal. `None` for what is no certificate.
pub fn subject_and_fingerprint(der: &[u8]) -> Option<(String, String)> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let fingerprint = digest(&SHA256, der);
    Some((subject(certificate.subject()), hexadecimal(fingerprint.as_ref())))
}

/// The most specific part first.
fn subject(name: &X509Name) -> String {
    let part = |part: &RelativeDistinguishedName| part.iter().map(attribute).collect::<Vec<_>>().join("+");
    let mut parts: Vec<_> = name.iter_rdn().map(part).collect();
    parts.reverse();
    parts.join(",")
}

/// RFC 4514, section 3: the types that have a name.
const TYPES: [(&str, &str); 9] = [
    ("2.5.4.3", "CN"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("2.5.4.6", "C"),
    ("2.5.4.9", "STREET"),
    ("0.9.2342.19200300.100.1.25", "DC"),
    ("0.9.2342.19200300.100.1.1", "UID"),
];

fn attribute(attribute: &AttributeTypeAndValue) -> String {
    let id = attribute.attr_type().to_id_string();
    let kind = TYPES.iter().find(|(known, _)| *known == id).map_or(id.as_str(), |(_, name)| name);
    let value = match attribute.as_str() {
        Ok(text) => escaped(text),
        Err(_) => format!("#{}", hexadecimal(&attribute.attr_value().to_der_vec().unwrap_or_default())),
    };
    format!("{kind}={value}")
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for (place, byte) in text.bytes().enumerate() {
        let at_edge = place == 0 || place + 1 == text.len();
        match byte {
            b'"' | b'+' | b',' | b';' | b'<' | b'>' | b'\\' => escaped.extend(['\\', byte.into()]),
            b' ' if at_edge => escaped.push_str("\\ "),
            b'#' if place == 0 => escaped.push_str("\\#"),
            b' '..=b'~' => escaped.push(byte.into()),
            _ => escaped.extend(['\\'].into_iter().chain(hexadecimal(&[byte]).chars())),
        }
    }
    escaped
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DistinguishedName, DnType, DnValue, KeyPair};

    use super::super::certificates::read_certificates;
    use super::super::samples::Authority;
    use super::*;

    #[test]
    fn subjects_cannot_pass_for_each_other() {
        let subject_of = |attributes: &[(DnType, DnValue)]| {
            let mut params = CertificateParams::default();
            params.distinguished_name = DistinguishedName::new();
            for (kind, value) in attributes {
                params.distinguished_name.push(kind.clone(), value.clone());
            }
            let key = KeyPair::generate().unwrap();
            subject_and_fingerprint(params.self_signed(&key).unwrap().der()).unwrap().0
        };
        let text = |text: &str| DnValue::Utf8String(text.into());
        let honest = [
            (DnType::CountryName, text("DE")),
            (DnType::OrganizationName, text("Bank")),
            (DnType::CommonName, text("a")),
        ];
        assert_eq!(subject_of(&honest), "CN=a,O=Bank,C=DE");
        for (value, shown) in [
            ("a,O=Bank,C=DE", r"CN=a\,O=Bank\,C=DE"),
            ("a+b", r"CN=a\+b"),
            (r"a\,b", r"CN=a\\\,b"),
            ("#00", r"CN=\#00"),
            (" a  b ", r"CN=\ a  b\ "),
            (" ", r"CN=\ "),
            ("é\r\n\0", r"CN=\c3\a9\0d\0a\00"),
            ("\"<x>;", r#"CN=\"\<x\>\;"#),
        ] {
            assert_eq!(subject_of(&[(DnType::CommonName, text(value))]), shown);
        }
        let serial = DnType::CustomDnType(vec![2, 5, 4, 5]);
        assert_eq!(subject_of(&[(serial, text("7"))]), "2.5.4.5=7");
        let wide = DnValue::BmpString("a".try_into().unwrap());
        assert_eq!(subject_of(&[(DnType::CommonName, wide)]), "CN=#1e020061");
        assert_eq!(subject_of(&[]), "");
    }

    #[test]
    fn the_fingerprint_is_openssls() {
        let authority = Authority::new();
        let (chain, _) = authority.pair(&["host.test"]);
        let der = read_certificates(&chain).unwrap().remove(0);
        let (_, fingerprint) = subject_and_fingerprint(&der).unwrap();
        let openssl = std::process::Command::new("openssl")
            .args(["x509", "-noout", "-fingerprint", "-sha256", "-in", &chain])
            .output()
            .unwrap();
        let told = String::from_utf8(openssl.stdout).unwrap();
        assert_eq!(told.trim().split_once('=').unwrap().1.replace(':', "").to_lowercase(), fingerprint);
        assert_eq!(subject_and_fingerprint(b"no certificate"), None);
        assert_eq!(subject_and_fingerprint(&der[..der.len() - 1]), None);
    }
}
