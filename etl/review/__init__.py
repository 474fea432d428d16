"""The local web page on which a person looks at images and decides: quick, by keyboard, every decision written at once.

`queues` says what there is to look at, `ledger` keeps the file of decisions, `moment` what curate makes of them just
now, `thumbnails` the small pictures, `pages` the HTML, and `server` who may ask for what.
"""
