//! The situations, for lambda_runtime.
use lambda_runtime::{service_fn, streaming, Diagnostic, Error, LambdaEvent};
use serde_json::{json, Value};
use std::sync::atomic::{AtomicU64, Ordering};

static CALLS: AtomicU64 = AtomicU64::new(0);

fn mishap(reason: &str) -> Diagnostic {
    Diagnostic { error_type: "Mishap".into(), error_message: reason.into() }
}

async fn handle(call: LambdaEvent<Value>) -> Result<Value, Diagnostic> {
    let (event, context) = call.into_parts();
    let calls = CALLS.fetch_add(1, Ordering::SeqCst) + 1;
    match event["do"].as_str().unwrap_or("") {
        "echo" => Ok(event),
        "fail" => Err(mishap("the reason: bad \"ß\" 💥")),
        "panic" => panic!("out of bounds"),
        "print" => {
            println!("out größe");
            eprintln!("err größe");
            Ok(Value::Null)
        }
        "flood" => {
            for _ in 0..5000 {
                println!("{}", "x".repeat(99));
            }
            Ok("done".into())
        }
        "sleep" => loop {
            std::thread::sleep(std::time::Duration::from_secs(3600));
        },
        "exit" => {
            println!("bye");
            std::process::exit(3);
        }
        "big" => Ok("x".repeat(event["text"].as_str().and_then(|size| size.parse().ok()).unwrap_or(0)).into()),
        "calls" => Ok(calls.into()),
        "context" => {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
            Ok(json!({
                "request_id": context.request_id,
                "arn": context.invoked_function_arn,
                "remaining_ms": context.deadline.saturating_sub(now.as_millis() as u64),
                "name": context.env_config.function_name,
                "version": context.env_config.version,
                "memory": context.env_config.memory,
                "trace": context.xray_trace_id,
                "env": std::env::var("COLOUR").unwrap_or_default(),
            }))
        }
        _ => Ok(Value::Null),
    }
}

async fn stream(call: LambdaEvent<Value>) -> Result<streaming::Response<streaming::Body>, Error> {
    let is_broken = call.payload["do"] == "midway";
    let (mut sender, body) = streaming::channel();
    tokio::spawn(async move {
        let _ = sender.send_data("one".into()).await;
        let _ = sender.send_data("drei ü".into()).await;
        if is_broken {
            sender.abort();
        }
    });
    Ok(streaming::Response::from(body))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    if std::env::var("BROKEN").is_ok() {
        println!("no such thing at the start");
        std::process::exit(7);
    }
    if std::env::var("_HANDLER").as_deref() == Ok("streams") {
        return lambda_runtime::run(service_fn(stream)).await;
    }
    lambda_runtime::run(service_fn(handle)).await
}
