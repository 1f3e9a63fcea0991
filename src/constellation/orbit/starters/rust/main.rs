// @name@: called with the request's JSON; what it returns becomes the answer's `output`.
use crate::constellation::{Context, Error, Value};

pub fn handler(event: Value, _context: &Context) -> Result<Value, Error> {
    let name = event.get("name").as_str().unwrap_or("world");
    println!("greeting {name}"); // shown by `orbit logs @name@`
    Ok(Value::object([("message", format!("Hello, {name}!"))]))
}
