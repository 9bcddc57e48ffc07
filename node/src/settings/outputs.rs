//! Outputs of boards.toml. They are fixed until the node is restarted.

use atalaya_config::{Boards, Located, Location, OutputConfig};

/// Returns the outputs of boards.toml, with the paths of their files from its folder.
pub(super) fn read(boards: &Boards) -> Vec<OutputConfig> {
    let mut outputs = boards.fleet.outputs.clone();
    for output in &mut outputs {
        for file in [&mut output.password_file, &mut output.token_file, &mut output.ca].into_iter().flatten()
        {
            file.value = boards.base_dir.join(&file.value).display().to_string();
        }
    }
    outputs
}

/// Returns true if both lists are the same, wherever they are in boards.toml.
pub(super) fn are_same(a: &[OutputConfig], b: &[OutputConfig]) -> bool {
    a.iter().map(without_locations).eq(b.iter().map(without_locations))
}

fn without_locations(output: &OutputConfig) -> OutputConfig {
    let strip = |text: &Located<String>| Located { value: text.value.clone(), at: Location::default() };
    OutputConfig {
        url: strip(&output.url),
        user: output.user.as_ref().map(strip),
        password_file: output.password_file.as_ref().map(strip),
        token_file: output.token_file.as_ref().map(strip),
        ca: output.ca.as_ref().map(strip),
        ..output.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outputs(text: &str) -> Vec<OutputConfig> {
        let board = "[boards.a]\nbackend = \"sim\"\n[[boards.a.sensors]]\nname = \"x\"\nchip = \"random\"\n";
        read(&Boards::parse(&format!("{text}{board}"), "boards.toml").unwrap())
    }

    #[test]
    fn outputs_are_the_same_if_only_their_location_has_changed() {
        let text = "[[fleet.outputs]]\ntype = \"webhook\"\nurl = \"http://h/\"\nca = \"ca.pem\"\n";
        let before = outputs(text);
        assert!(are_same(&before, &outputs(&format!("# A comment.\n\n{text}"))));
        assert!(!are_same(&before, &outputs(&text.replace("http://h/", "http://i/"))));
        assert!(!are_same(&before, &outputs(&text.replace("ca.pem", "other.pem"))));
        assert!(!are_same(&before, &[]));
    }
}
