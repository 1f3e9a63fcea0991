use crate::constellation::{Context, Error, Value};

pub fn handler(event: Value, _context: &Context) -> Result<Value, Error> {
    let name = event.get("name").as_str().unwrap_or("world");
    Ok(Value::object([("message", format!("Hello, {name}!"))]))
}
