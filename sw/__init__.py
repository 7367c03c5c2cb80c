"""Web assets, hashed names and the service worker. See docs/format.md §9."""
