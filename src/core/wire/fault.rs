//! Why a message is refused: one row each, with the section that says so.

/// What is wrong with a message. The connection can't be trusted with another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadFault {
    /// The status of the answer.
    pub status: u16,
    /// The stable name, for counters and logs.
    pub code: &'static str,
    /// What the client may read.
    pub text: &'static str,
}

/// One of the faults below: a result that may hold it fits in registers.
pub type Fault = &'static HeadFault;

macro_rules! faults {
    ($($name:ident = $status:literal $code:literal $rfc:literal $text:literal;)*) => {
        $(#[doc = concat!("RFC ", $rfc)]
        pub(super) const $name: Fault = &HeadFault { status: $status, code: $code, text: $text };)*

        impl HeadFault {
            /// Every fault there is.
            pub const ALL: &[Fault] = &[$($name),*];
        }
    };
}

faults! {
    // Lines.
    BARE_CR = 400 "bare_cr" "9112 §2.2" "a CR is not followed by LF";
    BARE_LF = 400 "bare_lf" "9112 §2.2" "a line ends in LF without CR";
    EMPTY_LINES = 400 "empty_lines" "9112 §2.2" "there is more than one empty line before the request";
    // The request line. Its statuses other than 400: 414 and 501 by 9112 §3, 505 by 9110 §15.6.6.
    REQUEST_LINE = 400 "request_line" "9112 §3" "the request line is not a method, a target and a version, with single spaces between";
    METHOD = 400 "method" "9110 §9.1, §5.6.2" "the method is not a token";
    METHOD_CASE = 501 "method_case" "9110 §9.1" "the method is unknown: methods are case-sensitive";
    METHOD_TOO_LONG = 501 "method_too_long" "9112 §3" "the method is longer than any known method";
    CONNECT = 501 "connect" "9110 §9.3.6, §15.6.2" "CONNECT is not supported";
    VERSION_SYNTAX = 400 "version_syntax" "9112 §2.3" "the request line does not end in an HTTP version";
    VERSION = 505 "version" "9110 §2.5, §15.6.6" "the version is neither HTTP/1.0 nor HTTP/1.1";
    TARGET_TOO_LONG = 414 "target_too_long" "9112 §3" "the request target is too long";
    TARGET_CHARACTER = 400 "target_character" "9112 §3.2, 3986 §2" "the request target contains a character that must be percent-encoded";
    TARGET_FORM = 400 "target_form" "9112 §3.2" "the form of the request target is not allowed for this method";
    TARGET_SCHEME = 400 "target_scheme" "9112 §3.2.2, 9110 §4.2" "the request target's scheme is neither http nor https";
    TARGET_AUTHORITY = 400 "target_authority" "9110 §4.2.1, §4.2.4" "the request target does not name a valid host";
    // Fields.
    HEAD_TOO_LARGE = 431 "head_too_large" "6585 §5" "the header section is too large";
    TOO_MANY_FIELDS = 431 "too_many_fields" "6585 §5" "the header section has too many fields";
    LEADING_SPACE = 400 "leading_space" "9112 §2.2" "there is white space before the first field";
    OBS_FOLD = 400 "obs_fold" "9112 §5.2" "a field is folded over several lines";
    FIELD_NAME = 400 "field_name" "9110 §5.1" "the name of a field is not a token";
    FIELD_NAME_EMPTY = 400 "field_name_empty" "9110 §5.1" "a field has no name";
    FIELD_COLON = 400 "field_colon" "9112 §5" "a field has no colon";
    SPACE_BEFORE_COLON = 400 "space_before_colon" "9112 §5.1" "there is white space between the name of a field and the colon";
    VALUE_SPACE = 400 "value_space" "9113 §8.2.1" "the value of a field begins or ends with white space";
    FIELD_VALUE = 400 "field_value" "9110 §5.5" "the value of a field contains a control character";
    // Host.
    HOST_MISSING = 400 "host_missing" "9112 §3.2" "Host is missing";
    HOST_REPEATED = 400 "host_repeated" "9112 §3.2" "more than one Host";
    HOST_MALFORMED = 400 "host_malformed" "9112 §3.2, 9110 §7.2" "Host is not a host name with an optional port";
    HOST_DIFFERS = 400 "host_differs" "9112 §3.2" "Host differs from the authority in the request target";
    // Framing.
    TE_AND_CL = 400 "te_and_cl" "9112 §6.1, §6.3" "Transfer-Encoding and Content-Length exclude each other";
    TE_HTTP10 = 400 "te_http10" "9112 §6.1" "HTTP/1.0 has no Transfer-Encoding";
    TE_REPEATED = 400 "te_repeated" "9112 §6.1" "more than one Transfer-Encoding";
    TRANSFER_ENCODING = 400 "transfer_encoding" "9112 §6.1" "the only supported transfer coding is chunked, once";
    CONTENT_LENGTH = 400 "content_length" "9110 §8.6, 9112 §6.3" "Content-Length is not a single number";
    CL_REPEATED = 400 "cl_repeated" "9110 §8.6, 9112 §6.3" "more than one Content-Length";
    EXPECT = 417 "expect" "9110 §10.1.1" "the only supported expectation is 100-continue";
    // Chunked bodies.
    CHUNK_SIZE = 400 "chunk_size" "9112 §7.1" "the size of a chunk is not a hexadecimal number";
    CHUNK_EXTENSION = 400 "chunk_extension" "9112 §7.1.1" "the extension of a chunk is too long or contains a control character";
    CHUNK_END = 400 "chunk_end" "9112 §7.1" "the data of a chunk does not end in CR LF";
    TRAILER_FORBIDDEN = 400 "trailer_forbidden" "9110 §6.5.1" "the trailers contain a field that is not allowed there";
}
