//! GPT-2's byte-pair tokenizer (`r50k_base`): text to token ids and back, without loss.

use std::collections::HashSet;

use tiktoken_rs::CoreBPE;

use super::DataError;

/// Tokens of GPT-2's vocabulary, end-of-text among them.
pub const VOCABULARY: usize = 50_257;

/// The end-of-text token, which opens every document.
pub const END_OF_TEXT: u16 = 50_256;

/// Name of the tokenizer in cache keys and shard headers.
pub(super) const TOKENIZER_ID: &[u8; 16] = b"gpt2-r50k_base-1";

/// Longest run of white space, in characters, that is handed to the tokenizer's regular expression as one
/// piece when the whole document was too much for it.
const WHITESPACE_RUN: usize = 4096;

/// GPT-2's tokenizer. Building it takes a few tens of milliseconds; one instance serves all threads.
pub struct Tokenizer {
    bpe: CoreBPE,
}

impl Tokenizer {
    /// Builds the tokenizer from the ranks compiled into the binary.
    ///
    /// # Errors
    /// [`DataError::Tokenizer`] when those ranks cannot be parsed.
    pub fn gpt2() -> Result<Self, DataError> {
        let bpe = tiktoken_rs::r50k_base().map_err(|error| failure(&error))?;
        Ok(Self { bpe })
    }

    /// The tokens of `text`, each below [`VOCABULARY`]. Text that spells a special token, as `<|endoftext|>`,
    /// is encoded like any other text.
    ///
    /// [`Tokenizer::decode`] gives `text` back. The ids are those of the reference tokenizer except in
    /// documents with about a million white-space characters in a row, which its regular expression refuses:
    /// there, every such run is cut into pieces of 4096 characters.
    ///
    /// # Errors
    /// [`DataError::Tokenizer`] when the regular expression gives up on the text even so.
    pub fn encode(&self, text: &str) -> Result<Vec<u16>, DataError> {
        let mut tokens = Vec::new();
        // Not `encode_ordinary`, which panics where this returns an error.
        match self.bpe.encode(text, &HashSet::new()) {
            Ok((ranks, _)) => append(&mut tokens, &ranks)?,
            Err(_) => {
                for piece in cut_whitespace_runs(text) {
                    let (ranks, _) =
                        self.bpe.encode(piece, &HashSet::new()).map_err(|error| failure(&error))?;
                    append(&mut tokens, &ranks)?;
                }
            }
        }
        Ok(tokens)
    }

    /// The text of `tokens`. A cut through the middle of a character leaves the replacement character there.
    ///
    /// # Errors
    /// [`DataError::Tokenizer`] for an id of [`VOCABULARY`] or above.
    pub fn decode(&self, tokens: &[u16]) -> Result<String, DataError> {
        let ranks: Vec<u32> = tokens.iter().map(|&token| u32::from(token)).collect();
        let bytes = self.bpe.decode_bytes(&ranks).map_err(|error| failure(&error))?;
        Ok(match String::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
        })
    }
}

fn failure(error: &dyn std::fmt::Display) -> DataError {
    DataError::Tokenizer { message: error.to_string() }
}

fn append(tokens: &mut Vec<u16>, ranks: &[u32]) -> Result<(), DataError> {
    tokens.reserve(ranks.len());
    for &rank in ranks {
        let token = u16::try_from(rank).map_err(|error| failure(&error))?;
        tokens.push(token);
    }
    Ok(())
}

/// Consecutive pieces of `text`, none with more than [`WHITESPACE_RUN`] white-space characters in a row.
fn cut_whitespace_runs(text: &str) -> Vec<&str> {
    let mut pieces = Vec::new();
    let (mut start, mut run) = (0, 0);
    for (at, character) in text.char_indices() {
        if !character.is_whitespace() {
            run = 0;
            continue;
        }
        if run == WHITESPACE_RUN {
            pieces.push(&text[start..at]);
            (start, run) = (at, 0);
        }
        run += 1;
    }
    pieces.push(&text[start..]);
    pieces
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use proptest::prelude::*;

    use super::*;

    static GPT2: LazyLock<Tokenizer> = LazyLock::new(|| Tokenizer::gpt2().expect("compiled-in ranks"));

    fn round_trip(text: &str) -> Vec<u16> {
        let tokens = GPT2.encode(text).expect("encodes");
        assert_eq!(GPT2.decode(&tokens).expect("decodes"), text);
        tokens
    }

    #[test]
    fn known_ids_of_gpt2() {
        assert_eq!(round_trip("Hello world"), [15496, 995]);
        assert_eq!(round_trip("Hello, world!"), [15496, 11, 995, 0]);
        assert!(round_trip("").is_empty());
        assert_eq!(round_trip("\n"), [198]);
    }

    #[test]
    fn the_text_of_a_special_token_is_ordinary_text() {
        let tokens = round_trip("<|endoftext|>");
        assert_eq!(tokens, [27, 91, 437, 1659, 5239, 91, 29]);
        assert!(!round_trip("a<|endoftext|><|endoftext|>b").contains(&END_OF_TEXT));
        assert_eq!(GPT2.decode(&[END_OF_TEXT]).expect("decodes"), "<|endoftext|>");
    }

    #[test]
    fn whitespace_emoji_and_control_characters_survive() {
        for text in [
            " ",
            "   \t\r\n\n  ",
            "\u{3000}\u{a0} x",
            "👩‍👩‍👧‍👦🇩🇪é",
            "\u{0}\u{1}\u{7f}",
            "\u{feff}bom",
            "日本語テキスト",
        ] {
            round_trip(text);
        }
    }

    #[test]
    fn very_long_lines_survive() {
        round_trip(&"a".repeat(300_000));
        round_trip(&"let x = 1; ".repeat(30_000));
    }

    #[test]
    fn whitespace_runs_that_the_regular_expression_refuses_survive() {
        let text = format!("a{}b{}", " ".repeat(2_000_000), "\n\u{3000}".repeat(700_000));
        assert!(GPT2.bpe.encode(&text, &HashSet::new()).is_err(), "the guard is needed");
        round_trip(&text);
    }

    #[test]
    fn unknown_ids_are_an_error() {
        let error = GPT2.decode(&[50_257]).expect_err("outside the vocabulary");
        assert!(error.to_string().contains("50257"), "{error}");
    }

    proptest! {
        #[test]
        fn decoding_undoes_encoding(text in any::<String>()) {
            let tokens = GPT2.encode(&text).expect("encodes");
            prop_assert!(tokens.iter().all(|&token| usize::from(token) < VOCABULARY && token != END_OF_TEXT));
            prop_assert_eq!(GPT2.decode(&tokens).expect("decodes"), text);
        }
    }
}
