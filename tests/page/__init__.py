"""The page in a real browser: `python app.py` on the embedded model, with no other machine to be reached.

Which test covers which part of the page:

| what the page has | covered by |
|---|---|
| three tabs over one panel; results flow between them | `test_making`: three tabs share one panel |
| pictures by file, camera and clipboard, at their own size; a photo's angle of view | a picture comes by file … |
| depth as PNG and NPY, kind and polarity, shown as read | a depth map is read as told |
| seed, steps, guidance, size, variants, qualities | a used seed is shown …, variants in another size … |
| live previews of both, time left, Stop | previews come as it runs … |
| many pictures, one archive | many pictures give one archive |
| examples, ready and with all their settings | an example opens ready … |
| looseness, and its way through the square of noise levels | three tabs share one panel |
| colours, reversed, clipped; compare | `test_results`: depth is coloured … |
| first view, hover with pixel and relative depth | the first view is the photo's own … |
| every file, stereo, normals, parallax, the archive of all | every file can be …, what is taken home in haste … |
| lift controls without the model, surface, camera kept and reset | lift controls redraw …, twenty updates … |
| pictures that carry settings, links, earlier runs | `test_keeping`: dropped back, links and earlier runs |
| program, command line and page: the same bytes; tools: `tests/app/test_tools.py` | page, program and command line … |
| no request to another machine | `desk.Desk.close` in every test; the browser knows no other machine's name |
| laptop and phone, light and dark, keyboard, screen reader | `test_looks` |
| bad input, told beside its control | `test_refusals` |
| how quick it is | `test_times`; `python -m tests.page.times` measures it |

`python -m tests.page.pictures` takes the README's pictures.
"""
