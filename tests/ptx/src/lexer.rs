//! Words and punctuation of a PTX text, each with its line.
//!
//! A word is a maximal run of letters, digits and `_ $ % .`, so `ld.global.f32`, `%tid.x`, `.reg` and `0f3F800000`
//! are one word each. Everything else but blanks and comments is punctuation of one character.

use crate::fault::ParseError;

/// One word or one character of punctuation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) text: String,
    pub(crate) line: u32,
}

/// A position in a list of tokens.
pub(crate) struct Cursor {
    tokens: Vec<Token>,
    next: usize,
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '$' | '%' | '.')
}

impl Cursor {
    /// Splits a text.
    pub(crate) fn new(source: &str) -> Result<Self, ParseError> {
        let mut tokens = Vec::new();
        let (mut line, mut rest) = (1, source);
        while let Some(c) = rest.chars().next() {
            let length = if rest.starts_with("//") {
                rest.find('\n').unwrap_or(rest.len())
            } else if rest.starts_with("/*") {
                let end =
                    rest.find("*/").ok_or(ParseError { line, message: "comment without end".into() })?;
                end + 2
            } else if is_word(c) {
                let length = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
                tokens.push(Token { text: rest[..length].into(), line });
                length
            } else {
                if !c.is_whitespace() {
                    tokens.push(Token { text: c.into(), line });
                }
                c.len_utf8()
            };
            line += rest[..length].matches('\n').count() as u32;
            rest = &rest[length..];
        }
        Ok(Self { tokens, next: 0 })
    }

    /// Line of the next token, or of the last one.
    pub(crate) fn line(&self) -> u32 {
        self.tokens.get(self.next).or(self.tokens.last()).map_or(0, |token| token.line)
    }

    /// An error at the next token.
    pub(crate) fn error<T>(&self, message: impl Into<String>) -> Result<T, ParseError> {
        Err(ParseError { line: self.line(), message: message.into() })
    }

    /// The next token, not consumed; empty at the end.
    pub(crate) fn peek(&self) -> &str {
        self.peek_at(0)
    }

    /// The token `ahead` places after the next; empty behind the end.
    pub(crate) fn peek_at(&self, ahead: usize) -> &str {
        self.tokens.get(self.next + ahead).map_or("", |token| &token.text)
    }

    /// Consumes the next token.
    pub(crate) fn take(&mut self) -> Result<String, ParseError> {
        match self.tokens.get(self.next) {
            Some(token) => {
                self.next += 1;
                Ok(token.text.clone())
            }
            None => self.error("the text ends too early"),
        }
    }

    /// Consumes the next token if it is `text`.
    pub(crate) fn accept(&mut self, text: &str) -> bool {
        let found = self.peek() == text;
        self.next += usize::from(found);
        found
    }

    /// Consumes the next token, which must be `text`.
    pub(crate) fn expect(&mut self, text: &str) -> Result<(), ParseError> {
        if self.accept(text) {
            return Ok(());
        }
        self.error(format!("`{text}` expected, found `{}`", self.peek()))
    }

    /// Consumes an integer literal, signed, decimal, hexadecimal, octal or binary.
    pub(crate) fn integer(&mut self) -> Result<i128, ParseError> {
        let sign = if self.accept("-") { -1 } else { 1 };
        match integer(self.peek()) {
            Some(value) => {
                self.next += 1;
                Ok(sign * value)
            }
            None => self.error(format!("a number expected, found `{}`", self.peek())),
        }
    }

    /// Where the cursor stands, for [`Cursor::text_since`].
    pub(crate) fn mark(&self) -> usize {
        self.next
    }

    /// The tokens since a mark, joined.
    pub(crate) fn text_since(&self, mark: usize) -> String {
        let mut text = String::new();
        for token in &self.tokens[mark..self.next] {
            let glued = text.is_empty() || text.ends_with(['@', '[', '{', '+', '|', '!', '-']);
            if !glued && !matches!(token.text.as_str(), "," | "]" | "}" | "+" | "|" | ";") {
                text.push(' ');
            }
            text.push_str(&token.text);
        }
        text
    }
}

/// Value of an unsigned integer literal.
pub(crate) fn integer(word: &str) -> Option<i128> {
    let word = word.strip_suffix('U').unwrap_or(word);
    let (digits, radix) = if let Some(digits) = word.strip_prefix("0x").or(word.strip_prefix("0X")) {
        (digits, 16)
    } else if let Some(digits) = word.strip_prefix("0b").or(word.strip_prefix("0B")) {
        (digits, 2)
    } else if word.len() > 1 && word.starts_with('0') {
        (&word[1..], 8)
    } else {
        (word, 10)
    };
    u64::from_str_radix(digits, radix).ok().map(i128::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_lines_and_comments() {
        let source = "/* a\nb */ ld.global.f32 %f1, [%rd1+-4]; // end\nret;";
        let mut cursor = Cursor::new(source).unwrap();
        let mut found = Vec::new();
        while !cursor.peek().is_empty() {
            let line = cursor.line();
            found.push((cursor.take().unwrap(), line));
        }
        let words: Vec<&str> = found.iter().map(|(word, _)| word.as_str()).collect();
        let expected = ["ld.global.f32", "%f1", ",", "[", "%rd1", "+", "-", "4", "]", ";", "ret", ";"];
        assert_eq!(words, expected);
        assert_eq!((found[0].1, found[10].1), (2, 3));
        assert_eq!(cursor.text_since(0), "ld.global.f32 %f1, [%rd1+-4]; ret;");
    }

    #[test]
    fn integers_of_every_base() {
        let values = ["31", "0x1F", "037", "0b11111", "31U"].map(integer);
        assert_eq!(values, [Some(31); 5]);
        assert_eq!(integer("0f3F800000"), None);
    }
}
