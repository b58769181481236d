//! Snippets of nginx configuration: their directives, and whether they only set headers.
//!
//! Any other directive (`if`, `deny`, `return`, Lua, an unknown directive) may protect something. The same applies to the
//! removal of a request header, which can prevent clients from spoofing headers that applications trust.

/// A directive: its words, and the block in braces after them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Directive {
    pub(crate) words: Vec<String>,
    pub(crate) block: Option<Vec<Self>>,
}

/// Whether all directives of the snippet add or replace headers; also true without directives.
pub(super) fn only_sets_headers(snippet: &str) -> bool {
    parse(snippet).is_some_and(|directives| {
        directives.iter().all(|directive| directive.block.is_none() && sets_header(&directive.words))
    })
}

fn sets_header(words: &[String]) -> bool {
    let Some((name, arguments)) = words.split_first() else { return true };
    match name.as_str() {
        "more_set_headers" | "more_clear_headers" | "proxy_hide_header" => true,
        "add_header" | "add_trailer" => match arguments {
            [_, _] => true,
            [_, _, always] => always == "always",
            _ => false,
        },
        "proxy_set_header" | "grpc_set_header" => matches!(arguments, [_, value] if !value.is_empty()),
        "more_set_input_headers" => arguments.iter().all(|argument| {
            argument.split_once(':').is_some_and(|(name, value)| !name.is_empty() && !value.trim().is_empty())
        }),
        _ => false,
    }
}

/// The directives, parsed as in nginx; `None` if the text is not valid configuration.
pub(crate) fn parse(text: &str) -> Option<Vec<Directive>> {
    let mut words = Vec::new();
    // The directives of each open block, and the words before its brace.
    let mut open: Vec<(Vec<Directive>, Vec<String>)> = Vec::new();
    let mut directives = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        rest = match first {
            '#' => rest.split_once('\n').map_or("", |(_, rest)| rest),
            ';' => {
                directives.push(Directive { words: std::mem::take(&mut words), block: None });
                &rest[1..]
            }
            '{' if open.len() < MAX_DEPTH => {
                open.push((std::mem::take(&mut directives), std::mem::take(&mut words)));
                &rest[1..]
            }
            '}' if words.is_empty() => {
                let (outer, words) = open.pop()?;
                let block = Some(std::mem::replace(&mut directives, outer));
                directives.push(Directive { words, block });
                &rest[1..]
            }
            '{' | '}' => return None,
            '"' | '\'' => {
                let (word, after) = quoted(&rest[1..], first)?;
                words.push(word);
                after
            }
            _ => {
                let (word, after) = plain(rest);
                words.push(word);
                after
            }
        };
        rest = rest.trim_start();
    }
    // A directive without an end would include the text that nginx has after the snippet.
    (words.is_empty() && open.is_empty()).then_some(directives)
}

/// The maximum nesting depth of blocks.
const MAX_DEPTH: usize = 8;

/// Up to the closing quote; nginx requires a space, `)`, `{` or the directive's end after it.
fn quoted(text: &str, quote: char) -> Option<(String, &str)> {
    let mut word = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => {
                word.push(c);
                word.push(chars.next()?.1);
            }
            c if c == quote => {
                let after = &text[at + c.len_utf8()..];
                let may_follow = |c: char| matches!(c, ';' | ')' | '{') || c.is_whitespace();
                return after.starts_with(may_follow).then_some((word, after));
            }
            c => word.push(c),
        }
    }
    None
}

fn plain(text: &str) -> (String, &str) {
    let mut end = text.len();
    let mut before = None;
    for (at, c) in text.char_indices() {
        // A variable can be written as ${name}.
        let is_end = c.is_whitespace() || c == ';' || (c == '{' && before != Some('$'));
        if is_end && before != Some('\\') {
            end = at;
            break;
        }
        before = Some(c);
    }
    (text[..end].to_owned(), &text[end..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_belongs_to_its_directive() {
        let parsed = parse("if ($http_a) { return 403; }\ndeny all;").unwrap();
        let directive = |words: &[&str], block| Directive {
            words: words.iter().map(|word| (*word).to_owned()).collect(),
            block,
        };
        let inner = vec![directive(&["return", "403"], None)];
        assert_eq!(parsed, [directive(&["if", "($http_a)"], Some(inner)), directive(&["deny", "all"], None)]);
        for broken in ["a {", "a { b; ", "}", "a; }", "a }", &"a {".repeat(9)] {
            assert_eq!(parse(broken), None, "{broken}");
        }
        assert!(parse(&("a {".repeat(8) + &"}".repeat(8))).is_some());
    }

    #[test]
    fn a_snippet_of_headers_alone_is_told_from_others() {
        for (snippet, want) in [
            ("", true),
            ("  # nothing\n", true),
            ("more_set_headers \"X-Frame-Options: DENY\";", true),
            ("add_header X-A b always; add_header X-C \"d; e\";", true),
            ("proxy_set_header X-Forwarded-Host $host;\nproxy_set_header X-Real ${remote_addr};", true),
            ("more_set_headers 'A: it\\'s';", true),
            ("more_set_input_headers 'X-Kind: a' \"X-Other: b\";", true),
            ("# deny all;\nadd_header A b;", true),
            ("proxy_set_header X-User \"\";", false),
            ("proxy_set_header X-User '';", false),
            ("more_set_input_headers 'X-User:';", false),
            ("more_set_input_headers 'X-User';", false),
            ("more_clear_input_headers X-User;", false),
            ("deny all;", false),
            ("add_header A b; return 403;", false),
            ("add_header A b\ndeny all;", false),
            ("add_header A b", false),
            ("if ($http_a) { return 403; }", false),
            ("add_header A b; }", false),
            ("location /x { add_header A b; }", false),
            ("access_by_lua_block { ngx.exit(403) }", false),
            ("add_header A \"b;\ndeny all;", false),
            ("add_header A \"b\"deny all;", false),
            ("\u{e4}dd_header A b;", false),
            ("include /etc/nginx/deny.conf;", false),
        ] {
            assert_eq!(only_sets_headers(snippet), want, "{snippet:?}");
        }
    }
}
