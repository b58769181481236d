//! Whether a snippet of nginx configuration does no more than set headers.
//!
//! Of anything else (`if`, `deny`, `return`, Lua, a directive that is not known) it is not known what it protects.
//! Neither is what takes a header away from a request: that is how applications are kept from believing what clients
//! say of themselves.

/// Whether all of the snippet is directives that add or replace headers; also where there are none at all.
pub(super) fn only_sets_headers(snippet: &str) -> bool {
    directives(snippet).is_some_and(|directives| directives.iter().all(|words| sets_header(words)))
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

/// The words of each directive, as nginx reads them; `None` where there is a block, or it is no configuration.
fn directives(text: &str) -> Option<Vec<Vec<String>>> {
    let (mut directives, mut words) = (Vec::new(), Vec::new());
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        rest = match first {
            '#' => rest.split_once('\n').map_or("", |(_, rest)| rest),
            ';' => {
                directives.push(std::mem::take(&mut words));
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
    // A directive without its end would take in what nginx writes after the snippet.
    words.is_empty().then_some(directives)
}

/// Up to the quote that ends it; nginx wants a blank or the directive's end after that.
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
                return after.starts_with(|c: char| c == ';' || c.is_whitespace()).then_some((word, after));
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
        // A variable may be written as ${name}.
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
