//! Arguments in pairs of keyword and value, in any order, as in ip(8): `via ADDRESS
//! dev DEVICE`.

use anyhow::Result;
use common::exit::Failure;

/// Parse the values of these keywords. Each keyword may be given at most once.
///
/// # Errors
/// A word is not a keyword, is given twice, or has no value. The exit status is 2.
pub(crate) fn keywords<const N: usize>(
    words: &[String],
    known: [&str; N],
) -> Result<[Option<String>; N]> {
    let mut values = [const { None }; N];
    let wrong = |text| Err(Failure { code: 2, text }.into());
    for pair in words.chunks(2) {
        let Some(place) = known.iter().position(|keyword| *keyword == pair[0])
        else {
            let known = known.map(|word| format!("\"{word}\"")).join(" or ");
            return wrong(format!(
                "unexpected argument {:?}: expected {known}",
                pair[0]
            ));
        };
        let [keyword, value] = pair else {
            return wrong(format!("the value of {:?} is missing", pair[0]));
        };
        if values[place].replace(value.clone()).is_some() {
            return wrong(format!("{keyword:?} is given twice"));
        }
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(words: &[&str]) -> Result<[Option<String>; 2], String> {
        let words: Vec<_> = words.iter().map(|&word| word.to_owned()).collect();
        keywords(&words, ["via", "dev"]).map_err(|error| error.to_string())
    }

    #[test]
    fn pairs_may_be_in_any_order() {
        let both = [Some("a".to_owned()), Some("b".to_owned())];
        assert_eq!(read(&["via", "a", "dev", "b"]), Ok(both.clone()));
        assert_eq!(read(&["dev", "b", "via", "a"]), Ok(both));
        assert_eq!(read(&[]), Ok([None, None]));
        assert_eq!(read(&["dev", "via"]), Ok([None, Some("via".to_owned())]));
    }

    #[test]
    fn an_invalid_pair_is_named() {
        for (words, error) in [
            (
                &["eth0"][..],
                "unexpected argument \"eth0\": expected \"via\" or \"dev\"",
            ),
            (&["via"], "the value of \"via\" is missing"),
            (&["dev", "a", "dev", "b"], "\"dev\" is given twice"),
        ] {
            assert_eq!(read(words), Err(error.to_owned()));
        }
    }
}
