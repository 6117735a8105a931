//! Tests of the book: the fast one against the obvious one, what changed in the top, and when a
//! book may be trusted.

mod links;
mod properties;
mod sync;

use super::Book;
use crate::event::{BookLevel, BookSide};
use crate::num::{Price, Qty};

fn level(price: i64, qty: i64) -> BookLevel {
    BookLevel {
        price: Price(price),
        qty: Qty(qty),
    }
}

fn top(book: &Book, side: BookSide, n: usize) -> Vec<BookLevel> {
    let mut out = Vec::new();
    book.top(side, n, &mut out);
    out
}

#[test]
fn reads_best_first_on_both_sides() {
    let mut book = Book::new();
    assert!(book.is_empty());
    assert_eq!(book.best(BookSide::Bid), None);
    book.load(
        &[level(99, 1), level(100, 2), level(50, 3)],
        &[level(102, 4), level(101, 5), level(900, 6)],
    );
    assert_eq!(book.best(BookSide::Bid), Some(level(100, 2)));
    assert_eq!(book.best(BookSide::Ask), Some(level(101, 5)));
    assert_eq!(
        top(&book, BookSide::Bid, 9),
        [level(100, 2), level(99, 1), level(50, 3)]
    );
    assert_eq!(top(&book, BookSide::Ask, 2), [level(101, 5), level(102, 4)]);
    assert_eq!(book.len(BookSide::Ask), 3);
    assert!(!book.is_crossed());
    book.apply(&[level(101, 1)], &[]);
    assert!(book.is_crossed(), "bid equal to ask");
}

#[test]
fn top_appends_to_what_is_there() {
    let mut book = Book::new();
    book.apply(&[level(1, 1)], &[]);
    let mut out = vec![level(7, 7)];
    book.top(BookSide::Bid, 3, &mut out);
    assert_eq!(out, [level(7, 7), level(1, 1)]);
}

#[test]
fn the_last_of_equal_prices_counts() {
    let mut book = Book::new();
    book.apply(&[level(10, 1), level(10, 0), level(10, 3)], &[]);
    assert_eq!(top(&book, BookSide::Bid, 9), [level(10, 3)]);
    book.apply(&[level(10, 5), level(10, 0)], &[]);
    assert!(book.is_empty());
}

#[test]
fn removing_what_is_not_there_changes_nothing() {
    let mut book = Book::new();
    book.apply(&[level(10, 0)], &[level(20, 0)]);
    assert!(book.is_empty());
    book.apply(&[level(10, 1)], &[level(20, 1)]);
    let far = [i64::MIN, -1, 0, 9, 11, 1 << 40, i64::MAX].map(|price| level(price, 0));
    book.apply(&far, &far);
    assert_eq!(top(&book, BookSide::Bid, 9), [level(10, 1)]);
    assert_eq!(top(&book, BookSide::Ask, 9), [level(20, 1)]);
}

/// The step is found from the prices, and found again when a finer one shows up.
#[test]
fn a_finer_step_keeps_every_level() {
    let coarse: Vec<BookLevel> = (1..=500).map(|n| level(n * 1_000_000, n)).collect();
    let mut book = Book::with_window(1024, 1024);
    book.load(&[], &coarse);
    book.apply(&[], &[level(1_500_000, 7), level(1_250_001, 8)]);
    let all = top(&book, BookSide::Ask, usize::MAX);
    assert_eq!(all.len(), 502);
    assert_eq!(
        all[..4],
        [
            level(1_000_000, 1),
            level(1_250_001, 8),
            level(1_500_000, 7),
            level(2_000_000, 2)
        ]
    );
}
