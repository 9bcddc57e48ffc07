//! Reads a boards.toml and prints the sensors of its boards, or its first mistake:
//! `cargo run -p atalaya-config --example check_boards -- boards.toml`

use std::process::ExitCode;

use atalaya_config::Boards;

fn main() -> ExitCode {
    let path = std::env::args().nth(1).unwrap_or_else(|| "boards.toml".to_owned());
    let boards = match Boards::load(&path) {
        Ok(boards) => boards,
        Err(error) => {
            println!("{error}");
            return ExitCode::FAILURE;
        }
    };
    for (name, board) in &boards.boards {
        println!("{name} ({:?})", board.backend);
        for spec in board.specs() {
            let info = spec.info();
            let place =
                info.bus.zip(info.address).map(|(bus, address)| format!(" at {address:#04x} on {bus}"));
            let quantities: Vec<String> =
                info.quantities.iter().map(|q| format!("{q} in {}", q.unit())).collect();
            println!(
                "  {}: {}{}, {}",
                info.name,
                info.chip,
                place.unwrap_or_default(),
                quantities.join(", ")
            );
        }
    }
    ExitCode::SUCCESS
}
