//! Values out of rows. What a column cannot hold is damage, not a reason to panic.

use serde_json::Value;
use sqlx::Row;
use sqlx::any::AnyRow;
use uuid::Uuid;

use crate::Result;
use crate::failure::Failure;
use crate::object::Kind;

pub fn text(row: &AnyRow, column: &str) -> Result<String> {
    Ok(row.try_get(column)?)
}

pub fn optional_text(row: &AnyRow, column: &str) -> Result<Option<String>> {
    Ok(row.try_get(column)?)
}

pub fn time(row: &AnyRow, column: &str) -> Result<i64> {
    Ok(row.try_get(column)?)
}

pub fn optional_time(row: &AnyRow, column: &str) -> Result<Option<i64>> {
    Ok(row.try_get(column)?)
}

pub fn number<T: TryFrom<i64>>(row: &AnyRow, column: &str) -> Result<T> {
    let number: i64 = row.try_get(column)?;
    T::try_from(number).map_err(|_| Failure::Damaged(format!("{column} is {number}")))
}

pub fn optional_number<T: TryFrom<i64>>(row: &AnyRow, column: &str) -> Result<Option<T>> {
    let number: Option<i64> = row.try_get(column)?;
    let number =
        number.map(|number| T::try_from(number).map_err(|_| Failure::Damaged(format!("{column} is {number}"))));
    number.transpose()
}

pub fn id(row: &AnyRow, column: &str) -> Result<Uuid> {
    let text = text(row, column)?;
    text.parse().map_err(|_| Failure::Damaged(format!("{column} is {text:?}")))
}

pub fn kind(row: &AnyRow, column: &str) -> Result<Kind> {
    let text = text(row, column)?;
    Kind::of_name(&text).ok_or_else(|| Failure::Damaged(format!("an object of the unknown kind {text:?}")))
}

pub fn json(row: &AnyRow, column: &str) -> Result<Value> {
    parse(&text(row, column)?, column)
}

pub fn optional_json(row: &AnyRow, column: &str) -> Result<Option<Value>> {
    optional_text(row, column)?.map(|text| parse(&text, column)).transpose()
}

fn parse(text: &str, column: &str) -> Result<Value> {
    serde_json::from_str(text).map_err(|error| Failure::Damaged(format!("{column} is not JSON: {error}")))
}

/// A number that is kept. There are no numbers over 2^63: none is counted so far.
pub fn kept(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Whether a statement failed because a value that must be unique is there.
pub fn is_taken(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(|error| error.is_unique_violation())
}
