use crate::constellation::{Answer, Context, Error, IntoAnswer, Json, Stream, Value};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, UNIX_EPOCH};

static CALLS: AtomicUsize = AtomicUsize::new(0);

pub enum Reply {
    Value(Value),
    Json(Json),
    Stream(Stream),
}

impl IntoAnswer for Reply {
    fn into_answer(self) -> Result<Answer, Error> {
        match self {
            Reply::Value(value) => value.into_answer(),
            Reply::Json(json) => json.into_answer(),
            Reply::Stream(stream) => stream.into_answer(),
        }
    }
}

#[inline(never)]
fn sink(list: &[i32], at: usize) -> i32 {
    list[at]
}

pub fn handler(event: Value, context: &Context) -> Result<Reply, Error> {
    let text = event.get("text").as_str().unwrap_or("");
    let calls = CALLS.fetch_add(1, Ordering::SeqCst) + 1;
    let value: Value = match event.get("do").as_str().unwrap_or("") {
        "echo" => text.into(),
        "fail" => return Err(Error::new("Mishap", format!("the reason: {text}"))),
        "question" => text.parse::<i64>()?.into(),
        "panic" => sink(&[], 7).into(),
        "print" => {
            println!("out {text}");
            eprintln!("err {text}");
            context.logger.info(format!("logged {text}"));
            print!("unended");
            Value::Null
        }
        "flood" => {
            for i in 0..20000 {
                println!("line {i} of many that nobody will read");
            }
            "done".into()
        }
        "sleep" => {
            std::thread::sleep(Duration::from_secs(600));
            Value::Null
        }
        "exit" => std::process::exit(3),
        "die" => std::process::abort(),
        "big" => "x".repeat(text.parse()?).into(),
        "size" => text.len().into(),
        "stream" => return Ok(Reply::Stream(Stream::new(["one", "tw\"o", "drei ü"]))),
        "calls" => calls.into(),
        "env" => std::env::var("COLOUR")?.into(),
        "invalid" => return Ok(Reply::Json(Json("{no json".into()))),
        "context" => Value::object([
            ("request_id", Value::from(context.request_id.as_str())),
            ("function_name", context.function_name.as_str().into()),
            ("function_version", context.function_version.as_str().into()),
            ("tenant", context.tenant.as_str().into()),
            ("namespace", context.namespace.as_str().into()),
            ("memory_limit_mb", (context.memory_limit_mb as u32).into()),
            ("traceparent", context.trace.traceparent.as_str().into()),
            ("remaining_ms", (context.remaining_ms() as i64).into()),
            ("deadline", context.deadline.duration_since(UNIX_EPOCH)?.as_secs_f64().into()),
        ]),
        _ => Value::Null,
    };
    Ok(Reply::Value(value))
}
