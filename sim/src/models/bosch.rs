//! Inverse of the compensation of the BME280 and BMP280: from the physical values to the raw values that the chip's
//! converter would output, so that a driver's arithmetic returns the physical values.
//!
//! Datasheet: Bosch BST-BME280-DS002, section 8.1, compensation in floating point; the coefficients are those of the
//! BMP280's worked example (BST-BMP280-DS001, section 3.12) and, for humidity, of typical magnitudes.

/// Full scale of the twenty-bit converters of temperature and pressure.
pub(super) const FULL: u32 = (1 << 20) - 1;

/// dig_T1 to dig_T3.
const T: (u16, i16, i16) = (27_504, 26_435, -1_000);
/// dig_P1.
const P1: u16 = 36_477;
/// dig_P2 to dig_P9.
const P: [i16; 8] = [-10_685, 3_024, 2_855, 140, -7, 15_500, -14_600, 6_000];
/// dig_H1 and dig_H3.
const H_BYTES: (u8, u8) = (75, 0);
/// dig_H2.
const H2: i16 = 370;
/// dig_H4 and dig_H5, twelve bits each.
const H_TWELVE: (u16, u16) = (305, 50);
/// dig_H6.
const H6: i8 = 30;

/// Returns the calibration at 0x88 to 0xa1.
pub(super) fn calibration_low() -> [u8; 26] {
    let mut bytes = [0; 26];
    let words = [T.0, T.1.cast_unsigned(), T.2.cast_unsigned(), P1].into_iter();
    let words = words.chain(P.map(i16::cast_unsigned));
    for (place, byte) in bytes.iter_mut().zip(words.flat_map(u16::to_le_bytes)) {
        *place = byte;
    }
    bytes[25] = H_BYTES.0;
    bytes
}

/// Returns the calibration at 0xe1 to 0xe7, where two coefficients share a byte.
pub(super) fn calibration_high() -> [u8; 7] {
    let [h2_low, h2_high] = H2.to_le_bytes();
    let (h4, h5) = H_TWELVE;
    let shared = (h4 & 0xf) | ((h5 & 0xf) << 4);
    [h2_low, h2_high, H_BYTES.1, (h4 >> 4) as u8, shared as u8, (h5 >> 4) as u8, H6.cast_unsigned()]
}

/// Returns the fine temperature (5120 per degree) of a raw temperature.
pub(super) fn fine(raw: u32) -> f64 {
    let (t1, t2, t3) = (f64::from(T.0), f64::from(T.1), f64::from(T.2));
    let away = f64::from(raw) / 16_384.0 - t1 / 1_024.0;
    away * t2 + (away / 8.0).powi(2) * t3
}

/// Returns the raw temperature nearest to a temperature in °C.
pub(super) fn raw_temperature(celsius: f64) -> u32 {
    nearest(celsius, FULL, |raw| fine(raw) / 5_120.0)
}

/// Returns the raw pressure nearest to a pressure in Pa at a fine temperature.
pub(super) fn raw_pressure(pascal: f64, fine: f64) -> u32 {
    // The converter counts down as the pressure rises.
    FULL - nearest(pascal, FULL, |down| pressure(FULL - down, fine))
}

/// Returns the raw humidity nearest to a relative humidity in percent at a fine temperature.
pub(super) fn raw_humidity(percent: f64, fine: f64) -> u32 {
    nearest(percent, u16::MAX.into(), |raw| humidity(raw, fine))
}

fn pressure(raw: u32, fine: f64) -> f64 {
    let [p2, p3, p4, p5, p6, p7, p8, p9] = P.map(f64::from);
    let warm = fine / 2.0 - 64_000.0;
    let offset = (warm * warm * p6 / 32_768.0 + warm * p5 * 2.0) / 4.0 + p4 * 65_536.0;
    let slope = (p3 * warm * warm / 524_288.0 + p2 * warm) / 524_288.0;
    let sensitivity = (1.0 + slope / 32_768.0) * f64::from(P1);
    let linear = (1_048_576.0 - f64::from(raw) - offset / 4_096.0) * 6_250.0 / sensitivity;
    linear + (p9 * linear * linear / 2_147_483_648.0 + linear * p8 / 32_768.0 + p7) / 16.0
}

/// Returns the relative humidity of a raw humidity. It is not clamped to 0 to 100 %, as drivers do, so that it is
/// monotonic.
fn humidity(raw: u32, fine: f64) -> f64 {
    let (h1, h3) = (f64::from(H_BYTES.0), f64::from(H_BYTES.1));
    let (h4, h5) = (f64::from(H_TWELVE.0), f64::from(H_TWELVE.1));
    let warm = fine - 76_800.0;
    let offset = h4 * 64.0 + h5 / 16_384.0 * warm;
    let bend = 1.0 + f64::from(H6) / 67_108_864.0 * warm * (1.0 + h3 / 67_108_864.0 * warm);
    let linear = (f64::from(raw) - offset) * (f64::from(H2) / 65_536.0 * bend);
    linear * (1.0 - h1 * linear / 524_288.0)
}

/// Returns the code from 0 to `last` whose value is nearest to `wanted`; `value` must increase with the code.
pub(super) fn nearest(wanted: f64, last: u32, value: impl Fn(u32) -> f64) -> u32 {
    let (mut low, mut high) = (0, last);
    while low < high {
        let middle = low.midpoint(high);
        if value(middle) < wanted {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    let below = low.saturating_sub(1);
    if (wanted - value(below)).abs() < (value(low) - wanted).abs() { below } else { low }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_example_of_the_datasheet_comes_out() {
        // BST-BMP280-DS001, section 3.12: 25.08 °C and 100653.27 Pa.
        assert!((fine(519_888) - 128_422.0).abs() < 1.0, "{}", fine(519_888));
        assert!((pressure(415_148, fine(519_888)) - 100_653.27).abs() < 0.05);
        assert_eq!(raw_temperature(fine(519_888) / 5_120.0), 519_888);
    }

    proptest! {
        #[test]
        fn going_back_and_forth_changes_at_most_half_a_step(
            celsius in -40.0..85.0_f64, pascal in 30_000.0..110_000.0_f64, percent in 0.0..100.0_f64,
        ) {
            let raw = raw_temperature(celsius);
            let fine = fine(raw);
            prop_assert!((fine / 5_120.0 - celsius).abs() < 0.0002, "{} for {celsius}", fine / 5_120.0);
            let back = pressure(raw_pressure(pascal, fine), fine);
            prop_assert!((back - pascal).abs() < 0.12, "{back} for {pascal}");
            let back = humidity(raw_humidity(percent, fine), fine);
            prop_assert!((back - percent).abs() < 0.005, "{back} for {percent}");
        }

        #[test]
        fn the_compensation_rises_so_that_it_can_be_turned_around(
            raw in 0..FULL, fine in -204_800.0..435_200.0_f64,
        ) {
            prop_assert!(super::fine(raw) < super::fine(raw + 1));
            prop_assert!(pressure(raw, fine) > pressure(raw + 1, fine));
            let raw = raw % 0xffff;
            prop_assert!(humidity(raw, fine) < humidity(raw + 1, fine));
        }
    }
}
