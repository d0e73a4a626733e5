//! A UDP server over wasi:sockets: answers each datagram with the task's slot and what it got. `echo-udp [address]`, `0.0.0.0:8080` unless
//! given.

use std::net::UdpSocket;

fn main() {
    let address = std::env::args().nth(1).unwrap_or_else(|| "0.0.0.0:8080".to_owned());
    let socket = match UdpSocket::bind(&address) {
        Ok(socket) => socket,
        Err(error) => {
            eprintln!("cannot listen on {address}: {error} ({:?})", error.kind());
            std::process::exit(1);
        }
    };
    println!("listening on {}", socket.local_addr().map_or_else(|error| error.to_string(), |address| address.to_string()));
    let slot = std::env::var("WSW_TASK_SLOT").unwrap_or_default();
    let mut buffer = vec![0; 65_535];
    loop {
        match socket.recv_from(&mut buffer) {
            Ok((count, from)) => {
                let answer = [slot.as_bytes(), b":", &buffer[..count]].concat();
                if let Err(error) = socket.send_to(&answer, from) {
                    eprintln!("{from}: {error}");
                }
            }
            Err(error) => eprintln!("receive: {error}"),
        }
    }
}
