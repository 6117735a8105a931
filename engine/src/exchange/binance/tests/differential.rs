//! The two ways of reading a frame never differ: on every recorded line, and on damaged ones.

use super::{Dice, Keep, RECORDINGS, Seen, StreamDecoder, capture, lines};
use crate::exchange::DecodeError;
use crate::instrument::Market;

/// Reads `frame` in both ways; panics when they disagree. True when the fast one took it.
pub(super) fn compare(
    decoder: &mut StreamDecoder,
    frame: &[u8],
) -> (bool, Vec<Seen>, Result<(), DecodeError>) {
    let mut fast = Keep::default();
    let was_taken = decoder.decode_compact(frame, &mut fast);
    let mut slow = Keep::default();
    let answer = decoder.decode_any(frame, &mut slow);
    let shown = || String::from_utf8_lossy(frame).into_owned();
    if was_taken {
        assert_eq!(answer, Ok(()), "only the fast way took {}", shown());
        assert_eq!(fast.0, slow.0, "the ways differ on {}", shown());
    } else {
        assert!(
            fast.0.is_empty(),
            "the fast way delivered a part of {}",
            shown()
        );
    }
    (was_taken, slow.0, answer)
}

/// Damages a frame in one place.
fn damage(frame: &mut Vec<u8>, dice: &mut Dice) {
    let at = dice.below(frame.len());
    // Bytes that JSON gives a meaning are likelier to be mistaken for something.
    const TELLING: &[u8] = b"\"\\{}[]:,.0123456789-+eEtfn \tabsUu\0\x1f\x7f\x80\xff";
    let byte = TELLING[dice.below(TELLING.len())];
    match dice.below(8) {
        0 => frame[at] ^= 1 << dice.below(8),
        1 => frame.truncate(at),
        2 => frame.insert(at, byte),
        3 => {
            frame.remove(at);
        }
        4 => {
            // A piece from one place to another: repeated fields, swapped values.
            let from = dice.below(frame.len());
            let len = dice.below(24).min(frame.len() - from);
            let piece = frame[from..from + len].to_vec();
            frame.splice(at..at, piece);
        }
        5 => frame.push(byte),
        _ => frame[at] = byte,
    }
}

#[test]
fn ways_agree_on_recordings_and_on_damaged_lines() {
    let mut dice = Dice(0x5EED_0001);
    let (mut taken, mut refused, mut decoded) = (0_u32, 0_u32, 0_u32);
    for recording in RECORDINGS {
        let Some(text) = capture(recording.file) else {
            return;
        };
        let mut decoder = StreamDecoder::new(recording.market, recording.table().unwrap());
        for line in lines(&text) {
            let (_, seen, _) = compare(&mut decoder, line);
            assert!(seen.len() == 1 || line.starts_with(b"{\"lastUpdateId\""));
            // Long frames take longer and hold more of the same.
            for _ in 0..if line.len() < 400 { 3 } else { 1 } {
                let mut damaged = line.to_vec();
                for _ in 0..1 + dice.below(2) {
                    if !damaged.is_empty() {
                        damage(&mut damaged, &mut dice);
                    }
                }
                let (was_taken, _, answer) = compare(&mut decoder, &damaged);
                taken += u32::from(was_taken);
                refused += u32::from(answer.is_err());
                decoded += u32::from(answer.is_ok());
            }
        }
    }
    // The damage is of all sorts: some of it leaves a frame whole, most does not.
    assert!(
        taken > 50_000 && refused > 50_000 && decoded > taken,
        "{taken} {refused} {decoded}"
    );
}

#[test]
fn a_frame_that_fails_delivers_no_part_of_a_delta() {
    let mut decoder = StreamDecoder::new(
        Market::Spot,
        super::table_of(
            Market::Spot,
            vec![super::spec(Market::Spot, "BTC", "USDT", 2, 5)],
        ),
    );
    for (asks, what) in [
        (r#"[["1.00","1"],["2.001","1"]]"#, "too many decimals"),
        (
            r#"[["1.00","1"],["2.00","99999999999999999999"]]"#,
            "too large",
        ),
        (r#"[["1.00","1"],["2.00"]]"#, "no quantity"),
        (r#"[["1.00","1"],["2.00","-1"]]"#, "negative"),
        (r#"[["1.00","1"],["2.00","1"]"#, "cut off"),
    ] {
        let frame = format!(
            r#"{{"e":"depthUpdate","E":1,"s":"BTCUSDT","U":1,"u":2,"b":[["1.00","1"]],"a":{asks}}}"#
        );
        let (seen, answer) = super::decode(&mut decoder, frame.as_bytes());
        assert!(
            seen.is_empty() && answer.is_err(),
            "{what}: {seen:?} {answer:?}"
        );
    }
}

/// Frames of a stream begin alike, which is remembered; whatever comes after is read for what it is.
#[test]
fn a_beginning_that_is_known_is_no_promise() {
    let table = |btc_scale| {
        let pairs = [("BTC", btc_scale), ("ETH", 3)];
        let specs = pairs.map(|(base, price)| super::spec(Market::Spot, base, "USDT", price, 5));
        super::table_of(Market::Spot, specs.to_vec())
    };
    let mut decoder = StreamDecoder::new(Market::Spot, table(2));
    let trade = |rest: &str| {
        format!(r#"{{"stream":"btcusdt@trade","data":{{"e":"trade","E":1723161255343{rest}}}}}"#)
    };
    let rest = r#","t":3735683259,"p":"61837.63000000","q":"0.02000000","T":1723161255342,"m":true,"M":true"#;
    let plain = trade(&format!(r#","s":"BTCUSDT"{rest}"#));
    let ends = rest.replace("\"m\":true", "\"m\":false");
    let mut first = None;
    for (frame, is_taken) in [
        (plain.clone(), true),
        (plain.clone(), true),
        (trade(&format!(r#","s":"ETHUSDT"{rest}"#)), true),
        (trade(&format!(r#","s":"BTCUSDT"{ends}"#)), true),
        (trade(&format!(r#","s":"BTCUSDT"{rest},"x":1"#)), true),
        (
            trade(&format!(r#","s":"BTCUSDT","s":"ETHUSDT"{rest}"#)),
            false,
        ),
        (trade(&format!(r#","s":"XRPUSDT"{rest}"#)), true),
        (plain.replace("1723161255343", "01723161255343"), false),
        (plain.replace("61837.63000000", "61837.63100000"), false),
        (plain.replace("}}", "}"), false),
        (format!("{plain} "), false),
        (plain.clone(), true),
    ] {
        let (was_taken, seen, _) = compare(&mut decoder, frame.as_bytes());
        assert_eq!(was_taken, is_taken, "{frame}");
        first.get_or_insert(seen);
    }
    // Instruments that are listed anew.
    crate::exchange::Decoder::set_table(&mut decoder, table(3));
    let (_, seen, _) = compare(&mut decoder, plain.as_bytes());
    let Some([Seen::Event(_, crate::event::Event::Trade(trade))]) = first.as_deref() else {
        panic!("{first:?}");
    };
    let [Seen::Event(_, crate::event::Event::Trade(now))] = seen.as_slice() else {
        panic!("{seen:?}");
    };
    assert_eq!(now.price.0, trade.price.0 * 10);
}
