//! A TCP server over wasi:sockets: greets each connection with the task's name, then echoes it until its end.
//!
//! `echo-tcp [address] [--plain]`: the address is `0.0.0.0:8080` unless given; with `--plain` it does not greet. There are no threads in
//! this world, so one connection is served at a time; the others wait in the backlog.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

fn main() {
    let mut words = std::env::args().skip(1);
    let (mut address, mut greets) = ("0.0.0.0:8080".to_owned(), true);
    for word in &mut words {
        match word.as_str() {
            "--plain" => greets = false,
            other => address = other.to_owned(),
        }
    }
    let listener = match TcpListener::bind(&address) {
        Ok(listener) => listener,
        Err(error) => {
            eprintln!("cannot listen on {address}: {error} ({:?})", error.kind());
            std::process::exit(1);
        }
    };
    println!("listening on {}", listener.local_addr().map_or_else(|error| error.to_string(), |address| address.to_string()));
    loop {
        match listener.accept() {
            Ok((stream, from)) => {
                // A client that goes away in the middle is no failure of ours.
                if let Err(error) = serve(stream, greets) {
                    eprintln!("{from}: {error}");
                }
            }
            Err(error) => eprintln!("accept: {error}"),
        }
    }
}

fn serve(mut stream: TcpStream, greets: bool) -> std::io::Result<()> {
    if greets {
        let name = std::env::var("WSW_TASK_NAME").unwrap_or_else(|_| "nobody".into());
        stream.write_all(format!("{name}\n").as_bytes())?;
    }
    let mut buffer = vec![0; 16 << 10];
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            count => stream.write_all(&buffer[..count])?,
        }
    }
}
