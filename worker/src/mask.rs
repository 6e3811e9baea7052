//! Keeps secrets out of everything that leaves the worker as text.
//!
//! A secret is looked for as it is and as programs commonly write it: base64 (both alphabets, padded
//! or not, also in the middle of something longer), percent-encoded, escaped in JSON. A secret of
//! several lines is looked for line by line too, because output is read line by line.

use std::sync::{Arc, RwLock};

use base64::Engine as _;
use base64::alphabet::{Alphabet, STANDARD, URL_SAFE};
use base64::engine::{GeneralPurpose, general_purpose::NO_PAD, general_purpose::PAD};

/// What stands where a secret was.
pub const MASK_TEXT: &str = "***";

/// The shortest secret. Anything shorter would be masked in words that have nothing to do with it.
pub const SECRET_CHARACTERS_MIN: usize = 6;

/// The shortest line of a secret of several lines that is masked by itself.
const SECRET_LINE_CHARACTERS_MIN: usize = 8;

/// The shortest piece of base64 that is looked for in the middle of something longer.
const BASE64_PIECE_MIN: usize = 8;

/// The secrets that must not be shown. Clones share them.
#[derive(Clone, Default)]
pub struct Mask {
    needles: Arc<RwLock<Vec<String>>>,
}

/// A secret that cannot be masked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SecretTooShort;

impl std::fmt::Display for SecretTooShort {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "a secret needs at least {SECRET_CHARACTERS_MIN} characters; \
             a shorter one would be masked in words that have nothing to do with it"
        )
    }
}

impl std::error::Error for SecretTooShort {}

impl Mask {
    /// Hides this secret from now on.
    ///
    /// # Errors
    /// When it is too short to be told apart from ordinary words.
    pub fn add(&self, secret: &str) -> Result<(), SecretTooShort> {
        if secret.trim().chars().count() < SECRET_CHARACTERS_MIN {
            return Err(SecretTooShort);
        }
        let mut found = forms(secret);
        found.extend(forms(secret.trim()));
        for line in secret.lines().map(str::trim) {
            if line.chars().count() >= SECRET_LINE_CHARACTERS_MIN {
                found.extend(forms(line));
            }
        }
        let mut needles = self.needles.write().expect("no holder of this lock panics");
        needles.extend(found);
        needles.sort();
        needles.dedup();
        Ok(())
    }

    /// The text with every secret replaced.
    pub fn hide(&self, text: &str) -> String {
        self.hide_up_to(text, usize::MAX).0
    }

    /// The text up to `limit` bytes, with every secret replaced, and whether something was left off.
    ///
    /// A secret that begins before the limit is replaced whole, so that cutting never shows half of
    /// one. For that the text must reach beyond the limit by [`Mask::longest`], or not be cut.
    pub fn hide_up_to(&self, text: &str, limit: usize) -> (String, bool) {
        let mut limit = limit.min(text.len());
        while !text.is_char_boundary(limit) {
            limit -= 1;
        }
        let mut shown = String::with_capacity(limit);
        let mut position = 0;
        for (from, to) in self.found_in(text) {
            if from >= limit {
                break;
            }
            shown.push_str(&text[position..from]);
            shown.push_str(MASK_TEXT);
            position = to;
        }
        if position < limit {
            shown.push_str(&text[position..limit]);
            position = limit;
        }
        (shown, position < text.len())
    }

    /// The length of the longest text that is looked for.
    pub fn longest(&self) -> usize {
        let needles = self.needles.read().expect("no holder of this lock panics");
        needles.iter().map(String::len).max().unwrap_or(0)
    }

    /// Where secrets are, in order and without overlap.
    fn found_in(&self, text: &str) -> Vec<(usize, usize)> {
        let needles = self.needles.read().expect("no holder of this lock panics");
        let mut found: Vec<(usize, usize)> = needles
            .iter()
            .flat_map(|needle| text.match_indices(needle.as_str()))
            .map(|(from, piece)| (from, from + piece.len()))
            .collect();
        found.sort_unstable();
        let mut merged: Vec<(usize, usize)> = Vec::with_capacity(found.len());
        for (from, to) in found {
            match merged.last_mut() {
                Some(last) if from <= last.1 => last.1 = last.1.max(to),
                _ => merged.push((from, to)),
            }
        }
        merged
    }
}

impl std::fmt::Debug for Mask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Mask")
    }
}

/// How a secret may be written.
fn forms(secret: &str) -> Vec<String> {
    let mut forms = vec![secret.to_owned()];
    let json = serde_json::to_string(secret).expect("text is JSON");
    let json = json[1..json.len() - 1].to_owned();
    forms.push(json.replace('/', "\\/"));
    forms.push(json_ascii(&json));
    forms.push(json);
    let percent = percent_encoded(secret);
    forms.push(percent.replace("%20", "+"));
    forms.push(percent.to_lowercase());
    forms.push(percent);
    for alphabet in [&STANDARD, &URL_SAFE] {
        forms.extend(base64_forms(secret.as_bytes(), alphabet));
    }
    forms
}

/// JSON as written by programs that escape everything beyond ASCII.
fn json_ascii(json: &str) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(json.len());
    for character in json.chars() {
        if character.is_ascii() {
            text.push(character);
            continue;
        }
        for unit in character.encode_utf16(&mut [0; 2]) {
            write!(text, "\\u{unit:04x}").expect("writing to a string never fails");
        }
    }
    text
}

fn percent_encoded(text: &str) -> String {
    use std::fmt::Write as _;
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(byte.into());
        } else {
            write!(encoded, "%{byte:02X}").expect("writing to a string never fails");
        }
    }
    encoded
}

fn base64_forms(secret: &[u8], alphabet: &Alphabet) -> Vec<String> {
    let unpadded = GeneralPurpose::new(alphabet, NO_PAD);
    let mut forms = vec![
        GeneralPurpose::new(alphabet, PAD).encode(secret),
        unpadded.encode(secret),
    ];
    // Behind 0, 1 or 2 other bytes the same secret looks different. Characters that also hold
    // bits of its neighbours, at either end, are left out.
    for before in 0..3_usize {
        let mut bytes = vec![0; before];
        bytes.extend_from_slice(secret);
        let encoded = unpadded.encode(&bytes);
        let from = (before * 8).div_ceil(6);
        let to = bytes.len() * 8 / 6;
        if to.saturating_sub(from) >= BASE64_PIECE_MIN {
            forms.push(encoded[from..to].to_owned());
        }
    }
    forms
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::engine::general_purpose;

    const SECRET: &str = "pa/ss wörd+\"1\"?>~~~";

    fn mask() -> Mask {
        let mask = Mask::default();
        mask.add(SECRET).unwrap();
        mask
    }

    #[test]
    fn a_secret_is_hidden_in_every_common_form() {
        let mask = mask();
        for written in [
            SECRET.to_owned(),
            general_purpose::STANDARD.encode(SECRET),
            general_purpose::STANDARD_NO_PAD.encode(SECRET),
            general_purpose::URL_SAFE.encode(SECRET),
            general_purpose::URL_SAFE_NO_PAD.encode(SECRET),
            percent_encoded(SECRET),
            percent_encoded(SECRET).to_lowercase(),
            percent_encoded(SECRET).replace("%20", "+"),
            serde_json::to_string(SECRET)
                .unwrap()
                .trim_matches('"')
                .to_owned(),
        ] {
            let hidden = mask.hide(&format!("<{written}>"));
            assert!(hidden.contains(MASK_TEXT), "{written} -> {hidden}");
            assert!(hidden.len() <= "<***==>".len(), "{written} -> {hidden}");
        }
    }

    #[test]
    fn a_secret_within_longer_base64_is_hidden() {
        let mask = Mask::default();
        mask.add("correct horse battery").unwrap();
        for before in ["", "u", "us", "use", "user:"] {
            let header =
                general_purpose::STANDARD.encode(format!("{before}correct horse battery!"));
            let hidden = mask.hide(&header);
            assert!(hidden.contains(MASK_TEXT), "{before}: {header} -> {hidden}");
            assert!(hidden.len() < before.len() + 16, "{before}: {hidden}");
        }
    }

    #[test]
    fn the_lines_of_a_long_secret_are_hidden_one_by_one() {
        let mask = Mask::default();
        mask.add("-----BEGIN-----\nMIIabcdefgh\nshort\n-----END KEY-----\n")
            .unwrap();
        assert_eq!(mask.hide("x MIIabcdefgh y"), "x *** y");
        assert_eq!(mask.hide("a short line"), "a short line");
        assert_eq!(mask.hide("\\n-----END KEY-----\\n"), "\\n***\\n");
    }

    #[test]
    fn a_short_secret_is_refused() {
        assert_eq!(Mask::default().add("abc12"), Err(SecretTooShort));
        assert_eq!(Mask::default().add("  abc  "), Err(SecretTooShort));
        assert!(Mask::default().add("abc123").is_ok());
    }

    #[test]
    fn cutting_never_shows_half_a_secret() {
        let mask = Mask::default();
        mask.add("secretvalue").unwrap();
        let text = format!("secretvalue{}secretvalue tail", "x".repeat(20));
        for limit in 0..text.len() {
            let (shown, _) = mask.hide_up_to(&text, limit);
            assert!(!shown.contains("secre"), "{limit}: {shown}");
        }
        assert_eq!(mask.hide_up_to("plain", 3), ("pla".to_owned(), true));
        assert_eq!(mask.hide_up_to("plain", 5), ("plain".to_owned(), false));
        assert_eq!(mask.hide_up_to("né", 2), ("n".to_owned(), true));
    }

    #[test]
    fn secrets_that_overlap_leave_nothing_between_them() {
        let mask = Mask::default();
        mask.add("abcdefgh").unwrap();
        mask.add("efghijkl").unwrap();
        assert_eq!(mask.hide("-abcdefghijkl-"), "-***-");
    }

    proptest::proptest! {
        #[test]
        fn a_secret_is_hidden_wherever_it_stands_and_however_the_text_is_cut(
            secret in "[a-zA-Z0-9+/=%\"\\\\ä-]{8,30}",
            before in "[a-zA-Z0-9 ]{0,20}",
            after in "[a-zA-Z0-9 ]{0,20}",
            limit in 0_usize..80,
            form in 0_usize..20,
        ) {
            let mask = Mask::default();
            mask.add(&secret).expect("it is long enough");
            let forms = forms(&secret);
            let written = &forms[form % forms.len()];
            let text = format!("{before}{written}{after}");
            proptest::prop_assert!(!mask.hide(&text).contains(written.as_str()));
            let (cut, _) = mask.hide_up_to(&text, limit);
            proptest::prop_assert!(!cut.contains(written.as_str()));
        }
    }
}
