"""What every page that alacena writes or serves shares: escaping templates, how numbers read, colours, and a policy.

`fragments` fills templates in, `page.css` is the style they build on, `pictures` puts a picture into a page, `sections`
makes a page of sections and lets one page show what another draws.
"""
