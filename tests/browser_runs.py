"""The table of runs, a run, a comparison, in a real browser: called by browser.py with its Browser."""

import json

# The second sweep of the made-up runs: 39 parts.
PARENT = f"{0x50000000 + 40:032x}"
RUN = "00000000000000000000000000000002"
MANY = "/runs?experiment=2"


def names(browser):
    return browser.eval("[...document.querySelectorAll('#runs a.open')].map(link => link.textContent)")


def press(browser, *keys):
    for key in keys:
        for kind in ("keyDown", "keyUp"):
            text = {"text": key} if kind == "keyDown" and len(key) == 1 else {}
            browser.call("Input.dispatchKeyEvent", type=kind, key=key, **text)


def ten_thousand_runs_are_shown_a_window_at_a_time(browser, url, folder):
    browser.call("Network.clearBrowserCache")
    browser.open(url + MANY)
    shown = browser.eval("Math.round(performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd)")
    print(f"        10,000 runs: the first rows stand after {shown} ms (debug build, runs in memory)")
    total = browser.eval("document.getElementById('total').textContent")
    assert total.startswith("10,00"), total
    browser.open(url + MANY + "&group=off")
    rows = browser.eval("document.querySelectorAll('#runs tbody:not(.pad) tr').length")
    assert 30 < rows < 100, f"{rows} rows"
    assert browser.eval("document.querySelectorAll('*').length") <= 1500
    browser.eval("scrollTo(0, document.documentElement.scrollHeight)")
    browser.wait("document.querySelector('#runs a.open')?.textContent !== 'still-training'", "other rows")
    browser.wait("[...document.querySelectorAll('#runs a.open')].some(link => link.textContent.endsWith('-0'))", "the very last rows")
    assert browser.eval("document.querySelectorAll('*').length") <= 1500, "as many as before"
    browser.picture(folder, "runs-end")


def a_column_sorts_and_the_address_holds_it(browser, url, folder):
    browser.open(url + MANY + "&group=off")
    browser.click("#runs thead th:nth-child(3) a")
    assert "sort=metrics.val_mae" in browser.eval("location.search")
    read = "[...document.querySelectorAll('#runs td.main b')].map(cell => Number(cell.textContent))"
    values = browser.eval(read)
    assert len(values) > 20 and values == sorted(values), values[:20]
    browser.click("#runs thead th:nth-child(3) a")
    assert browser.eval("document.querySelector('#runs [aria-sort=descending]') !== null")
    values = browser.eval(read)
    assert values == sorted(values, reverse=True), values[:20]


def a_wrong_filter_points_at_its_place(browser, url, folder):
    browser.open(url + MANY)
    browser.eval("document.getElementById('filter').value = \"metrics.val_mae < 'low'\"")
    browser.eval("document.querySelector('form.filter').requestSubmit()")
    browser.wait("document.querySelector('.wrong') !== null", "the complaint")
    text = browser.eval("document.querySelector('.wrong pre').textContent").split("\n")
    assert text[0][text[1].index("^")] == "'", text
    browser.picture(folder, "runs-wrong")
    browser.eval("document.getElementById('filter').value = 'metrics.val_mae < 30'")
    browser.eval("document.querySelector('form.filter').requestSubmit()")
    browser.wait("document.querySelector('.wrong') === null && document.querySelector('#total')?.textContent.includes('that fit')", "rows that fit")


def parts_open_below_their_parent(browser, url, folder):
    browser.open(url + MANY)
    before = names(browser)
    browser.eval("document.querySelector('#runs .fold').click()")
    browser.wait("document.querySelectorAll('#runs tr.child').length > 5", "the parts")
    assert "open=" in browser.eval("location.search"), "the address holds what is open"
    browser.picture(folder, "runs-group")
    browser.eval("document.querySelector('#runs .fold').click()")
    browser.wait("document.querySelectorAll('#runs tr.child').length === 0", "the parts to go")
    assert names(browser)[:10] == before[:10]


def keys_move_select_and_compare(browser, url, folder):
    browser.open(url + MANY + "&group=off")
    press(browser, "j", "j")
    first = browser.eval("document.activeElement.closest('tr')?.id")
    assert first, "a row has the focus"
    press(browser, "x", "j", "x")
    assert browser.eval("document.querySelectorAll('#runs tr.picked').length") == 2
    assert browser.eval("document.getElementById('picked').textContent") == "2 selected"
    press(browser, "?")
    assert browser.eval("document.getElementById('help').open")
    browser.picture(folder, "help")
    browser.eval("document.getElementById('help').close()")
    browser.eval("document.querySelector('#runs a.open').focus()")
    press(browser, "c")
    browser.wait("location.pathname === '/compare' && document.readyState === 'complete'", "the comparison")
    assert first in browser.eval("location.search")
    assert browser.eval("document.querySelectorAll('.diff thead a[href^=\"/runs/\"]').length") == 2
    press(browser, "g", "m")
    browser.wait("location.pathname === '/models'", "the models")


def a_comparison_draws_and_brushes(browser, url, folder):
    browser.open(url + f"/compare?parent={PARENT}")
    assert browser.eval("document.querySelectorAll('.strand').length") == 39
    browser.eval("document.getElementById('parallel').scrollIntoView()")
    pole = json.loads(browser.eval("JSON.stringify(document.querySelectorAll('.pole')[0].getBoundingClientRect())"))
    x = pole["left"] + pole["width"] / 2
    for kind, y in (("mousePressed", pole["top"] + 2), ("mouseMoved", pole["top"] + 60), ("mouseReleased", pole["top"] + 60)):
        browser.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", buttons=1, clickCount=1)
    off = browser.eval("document.querySelectorAll('.strand.off').length")
    assert 0 < off < 39, f"{off} are off"
    browser.picture(folder, "compare")


def curves_follow_their_controls(browser, url, folder):
    browser.open(url + f"/runs/{RUN}")
    browser.wait("document.querySelectorAll('.curve canvas').length === 2", "the curves")
    browser.eval("(form => { form.elements.smooth.value = '0.8'; form.elements.log.checked = true; form.elements.x.value = 'relative'; "
                 "form.dispatchEvent(new Event('input', { bubbles: true })) })(document.querySelector('form.look'))")
    search = browser.eval("location.search")
    assert all(part in search for part in ("smooth=0.8", "log=1", "x=relative")), search
    assert browser.eval("document.querySelectorAll('.curve canvas').length") == 2
    browser.picture(folder, "run-curves")


def a_hostile_page_stays_text(browser, url, folder):
    browser.open(url + f"/runs/{RUN}?file=report.html#artifacts")
    shown = browser.eval("document.querySelector('#preview pre').textContent")
    assert "document.title = 'owned'" in shown, shown
    assert browser.eval("document.title") != "owned"
    assert browser.eval("document.querySelectorAll('#preview script, #preview iframe, #preview img').length") == 0
    hosts = [request for request in browser.requests() if "example.com" in request]
    assert not hosts, hosts
    browser.open(url + f"/runs/{RUN}?file=tables/residuals.csv#artifacts")
    assert browser.eval("document.querySelectorAll('#preview tbody tr').length") == 24
    browser.open(url + f"/runs/{RUN}?file=plots/residuals.svg#artifacts")
    browser.eval("document.querySelector('#preview img').scrollIntoView()")
    browser.wait("document.querySelector('#preview img').naturalWidth > 0", "the picture")


def a_running_run_goes_on(browser, url, folder):
    browser.open(url + "/runs/000000000000000000000000000011fe")
    browser.wait("document.querySelectorAll('.curve canvas').length > 0", "the curves")
    step = "Number(document.querySelector('#latest tr').cells[2].textContent)"
    before = browser.eval(step)
    browser.wait(f"{step} > {before}", "a later step")
    assert browser.eval("document.getElementById('live').textContent") == "live"
    browser.picture(folder, "run-live")


TESTS = [
    ten_thousand_runs_are_shown_a_window_at_a_time,
    a_column_sorts_and_the_address_holds_it,
    a_wrong_filter_points_at_its_place,
    parts_open_below_their_parent,
    keys_move_select_and_compare,
    a_comparison_draws_and_brushes,
    curves_follow_their_controls,
    a_hostile_page_stays_text,
    a_running_run_goes_on,
]
