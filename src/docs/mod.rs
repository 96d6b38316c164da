//! The manual for operators and authors of clients. Each page is a Markdown file beside this one, so that it can also be
//! read in a repository browser.

/// A page. Its links to other pages are files in a repository browser and modules here: the first definition of a
/// link counts (CommonMark §4.7), so these replace those at the end of the page.
macro_rules! page {
    ($name:ident, $file:literal) => {
        #[doc = "[access]: crate::docs::access\n[guarantees]: crate::docs::guarantees\n[http]: crate::docs::http\n[legacy]: crate::docs::legacy\n[line]: crate::docs::line\n[operations]: crate::docs::operations\n"]
        #[doc = include_str!($file)]
        pub mod $name {}
    };
}

page!(access, "access.md");
page!(client, "client.md");
page!(guarantees, "guarantees.md");
page!(http, "http.md");
page!(legacy, "legacy.md");
page!(line, "line.md");
page!(memory, "memory.md");
page!(operations, "operations.md");
page!(recipes, "recipes.md");
page!(sync, "sync.md");
page!(webdav, "webdav.md");
