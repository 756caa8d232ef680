//! A `.env` that holds the current token.
