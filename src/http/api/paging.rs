//! Pages of listings. A cursor is opaque, and good for the listing that told it.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use http::StatusCode;
use serde::Deserialize;

use crate::{http::problem::Problem, store::Page};

/// Which page of a listing.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Paging {
    pub limit: Option<u32>,
    pub cursor: Option<String>,
}

/// Items a page when the request does not say.
const PAGE: u32 = 50;

/// `limit` within 1 to 200, or the default.
pub fn page_size(limit: Option<u32>) -> Result<u32, Problem> {
    match limit {
        None => Ok(PAGE),
        Some(limit) if (1..=200).contains(&limit) => Ok(limit),
        Some(limit) => Err(invalid(format!("limit: {limit} is not within 1 to 200"))),
    }
}

fn invalid(detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "invalid-query", detail)
}

/// A listing, by a name that its cursors bear.
#[derive(Debug, Clone, Copy)]
pub struct Listing(pub &'static str);

impl Listing {
    /// Where the store goes on, from the cursor that was told.
    ///
    /// # Errors
    /// `invalid-query`: it is no cursor of this listing.
    pub fn place(self, cursor: Option<String>) -> Result<Option<String>, Problem> {
        let Some(cursor) = cursor else { return Ok(None) };
        let text = BASE64_URL_SAFE_NO_PAD.decode(cursor).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let place = text.as_deref().and_then(|text| text.strip_prefix(self.0)?.strip_prefix('\n'));
        let place = place.map(str::to_owned);
        let place = place.ok_or_else(|| invalid("cursor: take it as it stands in `next` of the page before"))?;
        Ok(Some(place))
    }

    /// The page with its cursor as it is told.
    pub fn told<T>(self, page: Page<T>) -> Page<T> {
        let next = page.next.map(|place| BASE64_URL_SAFE_NO_PAD.encode(format!("{}\n{place}", self.0)));
        Page { items: page.items, next }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_leads_on_in_its_own_listing_alone() {
        let told = Listing("runs").told(Page { items: vec![1], next: Some("17\nx".to_owned()) });
        assert_eq!(Listing("runs").place(told.next.clone()).expect("its own"), Some("17\nx".to_owned()));
        assert_eq!(Listing("runs").place(None).expect("the first page"), None);
        for (listing, cursor) in
            [("letters", told.next.unwrap_or_default()), ("runs", "17".to_owned()), ("runs", "é".to_owned())]
        {
            let refused = Listing(listing).place(Some(cursor.clone())).expect_err("it was taken");
            assert_eq!(
                (refused.status, refused.code),
                (StatusCode::BAD_REQUEST, "invalid-query"),
                "{listing} {cursor}"
            );
        }
    }
}
