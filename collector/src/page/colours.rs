//! Tests of the contrasts in the style sheet, for the light and the dark theme, against the minimum values of WCAG 2.2.

use std::collections::BTreeMap;

type Palette = BTreeMap<&'static str, [u8; 3]>;

/// Returns the colours of the first block in `text` that defines colours.
fn palette(text: &'static str) -> Palette {
    let block = text.split_once(":root {").unwrap().1.split_once('}').unwrap().0;
    let colour = |line: &'static str| {
        let (name, value) = line.trim().strip_prefix("--")?.split_once(": #")?;
        let value = u32::from_str_radix(value.strip_suffix(';')?, 16).ok()?;
        let [_, red, green, blue] = value.to_be_bytes();
        Some((name, [red, green, blue]))
    };
    block.lines().filter_map(colour).collect()
}

fn luminance(colour: [u8; 3]) -> f64 {
    let [red, green, blue] = colour.map(|part| {
        let part = f64::from(part) / 255.0;
        if part <= 0.04045 { part / 12.92 } else { ((part + 0.055) / 1.055).powf(2.4) }
    });
    0.2126 * red + 0.7152 * green + 0.0722 * blue
}

fn contrast(one: [u8; 3], other: [u8; 3]) -> f64 {
    let (one, other) = (luminance(one), luminance(other));
    (one.max(other) + 0.05) / (one.min(other) + 0.05)
}

#[test]
fn texts_and_shapes_have_the_contrasts_of_wcag() {
    let css = super::assets::STYLE.text;
    let (day, night) = css.split_once("@media (prefers-color-scheme: dark)").unwrap();
    for (name, colours) in [("day", palette(day)), ("night", palette(night))] {
        let text = "ink/ground ink/card faint/card faint/ground sea/card sea/ground card/sea card/ink ink/calm-ground \
                    ink/bad-ground bad/bad-ground bad/card ink/warn-ground warn/warn-ground warn/card warn/ground \
                    bad/ground good/ground";
        let drawn = "sea/card sea/band good/card epoch/card warn/gap epoch/band";
        let pairs = text.split(' ').map(|pair| (pair, 4.5)).chain(drawn.split(' ').map(|pair| (pair, 3.0)));
        for (pair, min) in pairs {
            let (front, back) = pair.split_once('/').unwrap();
            let found = contrast(colours[front], colours[back]);
            assert!(found >= min, "{name}: {front} on {back} has {found:.2}, and needs {min}");
        }
    }
    assert!((contrast([0, 0, 0], [255, 255, 255]) - 21.0).abs() < 1e-9);
}
