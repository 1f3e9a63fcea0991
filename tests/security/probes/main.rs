// Does natively what an event says, and answers with a text: what was read, "allowed", or the number of the error.
use crate::constellation::{Context, Error, Value};
use std::ffi::c_long;
use std::{env, fs, io, net};

extern "C" {
    fn syscall(number: c_long, ...) -> c_long;
}

fn ended<T>(result: io::Result<T>) -> String {
    match result {
        Ok(_) => "allowed".into(),
        Err(error) => error.raw_os_error().map_or(error.to_string(), |number| format!("errno {number}")),
    }
}

fn names(directory: &str) -> io::Result<String> {
    let found = fs::read_dir(directory)?.flatten();
    Ok(found.map(|each| each.file_name().to_string_lossy().into_owned() + "\n").collect())
}

pub fn handler(event: Value, _context: &Context) -> Result<Value, Error> {
    let at = event.get("at").as_str().unwrap_or("");
    let told = match event.get("do").as_str().unwrap_or("") {
        "exists" => ended(fs::metadata(at)),
        "list" => names(at).unwrap_or_else(|error| ended::<()>(Err(error))),
        "read" => match fs::read(at) {
            Ok(data) => String::from_utf8_lossy(&data).into_owned(),
            Err(error) => ended::<()>(Err(error)),
        },
        "write" => ended(fs::OpenOptions::new().write(true).create(true).open(at)),
        "env" => env::vars().map(|(name, value)| format!("{name}={value}\n")).collect(),
        "connect" => ended(net::TcpStream::connect(at.replace(' ', ":"))),
        "syscall" => {
            let mut n: Vec<c_long> = at.split(' ').map(|each| each.parse().unwrap_or(0)).collect();
            n.resize(7, 0);
            let result = unsafe { syscall(n[0], n[1], n[2], n[3], n[4], n[5], n[6]) };
            if result < 0 { ended::<()>(Err(io::Error::last_os_error())) } else { "allowed".into() }
        }
        other => return Err(Error::new("Unknown", other)),
    };
    Ok(told.into())
}
