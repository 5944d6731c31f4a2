//! Who a client is (SEMANTICS 4).

pub mod identity;
