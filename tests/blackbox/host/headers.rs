//! Header lines with the letters and the bytes that they were sent with, which a map of lower-case
//! names would lose.

/// Header lines in their order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Headers(Vec<(String, Vec<u8>)>);

impl Headers {
    /// Reads lines that end with CRLF. A line that begins with a space continues the one before, as
    /// .NET's client reads it. `None` if one has no name that HTTP allows.
    pub fn parse(lines: &[u8]) -> Option<Self> {
        let mut headers = Self::default();
        for line in lines
            .split(|byte| *byte == b'\n')
            .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
        {
            match (line.first(), headers.0.last_mut()) {
                (None, _) => {}
                (Some(b' ' | b'\t'), Some((_, value))) => {
                    value.extend_from_slice(b"  ");
                    value.extend_from_slice(line);
                }
                _ => {
                    let colon = line.iter().position(|byte| *byte == b':')?;
                    let (name, value) = line.split_at(colon);
                    let name = std::str::from_utf8(name)
                        .ok()
                        .filter(|name| is_token(name))?;
                    headers.append(name, value.get(1..)?.trim_ascii());
                }
            }
        }
        Some(headers)
    }

    pub fn append(&mut self, name: &str, value: impl AsRef<[u8]>) {
        self.0.push((name.to_owned(), value.as_ref().to_owned()));
    }

    /// Puts one line in place of all lines of that name.
    pub fn set(&mut self, name: &str, value: impl AsRef<[u8]>) {
        self.remove(name);
        self.append(name, value);
    }

    pub fn remove(&mut self, name: &str) {
        self.retain(|known| !known.eq_ignore_ascii_case(name));
    }

    pub fn retain(&mut self, mut keep: impl FnMut(&str) -> bool) {
        self.0.retain(|(name, _)| keep(name));
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.0
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_slice()))
    }

    pub fn all<'a>(&'a self, wanted: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.iter()
            .filter(move |(name, _)| name.eq_ignore_ascii_case(wanted))
            .map(|(_, value)| value)
    }

    pub fn contains(&self, name: &str) -> bool {
        self.all(name).next().is_some()
    }

    /// The first value of that name, if it is text.
    pub fn text(&self, name: &str) -> Option<&str> {
        let (_, value) = self
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(value).ok()
    }

    /// Whether a list, such as that of `Connection`, has an option.
    pub fn lists(&self, name: &str, option: &str) -> bool {
        let text = |value| std::str::from_utf8(value).unwrap_or_default();
        self.all(name)
            .flat_map(|value| text(value).split(','))
            .any(|part| part.trim().eq_ignore_ascii_case(option))
    }

    pub fn is_ascii(&self) -> bool {
        self.0.iter().all(|(_, value)| value.is_ascii())
    }

    /// .NET's client writes all values of one name into one line, whatever lines they came in.
    pub fn one_line_each(&self) -> Self {
        let mut joined = Self::default();
        for (name, value) in self.iter() {
            let separator = match name {
                _ if name.eq_ignore_ascii_case("user-agent") => " ",
                _ if name.eq_ignore_ascii_case("cookie") => "; ",
                _ => ", ",
            };
            match joined
                .0
                .iter_mut()
                .find(|(known, _)| known.eq_ignore_ascii_case(name))
            {
                Some((_, values)) => {
                    values.extend_from_slice(separator.as_bytes());
                    values.extend_from_slice(value);
                }
                None => joined.append(name, value),
            }
        }
        joined
    }

    /// Writes all lines and the blank one behind them.
    pub fn write_to(&self, bytes: &mut Vec<u8>) {
        for (name, value) in self.iter() {
            bytes.extend_from_slice(name.as_bytes());
            bytes.extend_from_slice(b": ");
            bytes.extend_from_slice(value);
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(b"\r\n");
    }
}

/// Whether a text is a token of HTTP: a method, the name of a header, a part of a media type.
pub fn is_token(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(is_allowed)
}
