"""The stylesheet of the page of derivations: legible in light and dark, nothing fetched."""

STYLE = """
:root { color-scheme: light dark; --text: #1d2329; --soft: #56616d; --page: #fcfcfa; --card: #f1f3f4; --line: #d5dade;
  --accent: #0b5f8a; --good: #17693a; --fair: #7a5200; --bad: #b3261e }
@media (prefers-color-scheme: dark) { :root { --text: #e4e7ea; --soft: #a5b0bb; --page: #15191d; --card: #1f252b;
  --line: #38414a; --accent: #7cc4ee; --good: #79d39b; --fair: #e8bd66; --bad: #ff8a80 } }
body { margin: 0 auto; max-width: 62rem; padding: 2rem 1.25rem 5rem; background: var(--page); color: var(--text);
  font: 1rem/1.55 system-ui, "Segoe UI", "DejaVu Sans", sans-serif }
h1 { font-size: 1.75rem; line-height: 1.25; margin: 0 0 .5rem }
h2 { font-size: 1.35rem; margin: 0 0 .75rem; line-height: 1.3 }
h3 { font-size: 1rem; margin: 1.5rem 0 .4rem; color: var(--soft); text-transform: uppercase; letter-spacing: .04em }
p, ul, ol, dl { margin: .35rem 0 }
a { color: var(--accent) }
code { font: .9em ui-monospace, "DejaVu Sans Mono", monospace; overflow-wrap: anywhere }
header p { color: var(--soft) }
nav { background: var(--card); border-radius: .5rem; padding: 1rem 1.5rem; margin: 1.5rem 0 }
article { border-top: 1px solid var(--line); padding-top: 1.75rem; margin-top: 2.5rem }
.tag { font-size: .75rem; font-weight: 500; color: var(--soft); border: 1px solid var(--line); border-radius: 1rem;
  padding: .05rem .5rem; white-space: nowrap; vertical-align: .15em }
ol.steps { padding-left: 2.25rem }
ol.steps > li { margin: 1rem 0; padding-left: .25rem }
ol.steps > li::marker { color: var(--soft) }
.verdict { font-size: .78rem; white-space: nowrap; margin-left: .35rem }
.verdict::before { content: "\\2713\\00a0" }
.symbolic { color: var(--good) } .numeric { color: var(--fair) } .bad { color: var(--bad); font-weight: 700 }
.verdict.bad::before { content: "\\2717\\00a0" }
.equation { display: flex; flex-wrap: wrap; align-items: center; gap: .35rem .7rem; padding: .5rem .8rem;
  margin-top: .35rem; background: var(--card); border-radius: .4rem }
.scroll { overflow-x: auto; overflow-y: hidden; max-width: 100%; padding: .3rem .1rem }
math { font-size: 1.08em; font-family: "Latin Modern Math", "STIX Two Math", "Cambria Math", math }
mi { padding: 0 .07em }
mtable { border-left: 2px solid var(--soft); border-radius: .6rem; padding-left: .5rem }
mtd { text-align: left; padding: .2em 1em .2em 0 }
sup, sub { line-height: 0 }
.result { border-left: 3px solid var(--accent); padding: .2rem 0 .2rem 1rem; margin: 1.1rem 0 }
.signature { font-weight: 600 }
.formula { font-family: Georgia, "DejaVu Serif", serif; font-size: 1.05rem; overflow-x: auto }
details { margin: .4rem 0 } summary { cursor: pointer; color: var(--soft); font-size: .9rem }
.side { margin: 0; max-width: 100% }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1rem; font-size: .93rem }
dt { font-family: Georgia, "DejaVu Serif", serif; font-style: italic } dd { margin: 0 }
@media print { details > * { display: block } nav { break-after: page } }
"""
