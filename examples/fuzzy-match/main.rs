use crate::constellation::{Context, Error, Value};

#[path = "distance.rs"]
mod distance;

/// Finds the words that are nearest to what somebody typed: "did you mean ...?"
pub fn handler(event: Value, _context: &Context) -> Result<Value, Error> {
    let typed = event.get("typed").as_str().ok_or_else(|| Error::new("BadEvent", "\"typed\" is no text"))?;
    let words = event.get("words").as_list().unwrap_or_default();
    let most = (typed.chars().count() / 3).max(1);
    let mut near: Vec<(usize, &str)> = words
        .iter()
        .filter_map(Value::as_str)
        .map(|word| (distance::between(&typed.to_lowercase(), &word.to_lowercase()), word))
        .filter(|(away, _)| *away <= most)
        .collect();
    near.sort();
    let found: Vec<Value> =
        near.into_iter().map(|(away, word)| Value::object([("word", Value::from(word)), ("edits", Value::from(away))])).collect();
    Ok(Value::object([("matches", found)]))
}
