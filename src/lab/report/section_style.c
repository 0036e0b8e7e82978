/* The style sheet. A style class only sets the colour --c; what is drawn with it (line, band, label) is said once. The colours of
 * operations are those of the cell's picture, moved towards black or white until they can be told from the page. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lab/report/section.h"

static const char light[] =
    "--bg:#f3f5f8;--card:#ffffff;--ink:#17202b;--soft:#566273;--rule:#dde3ea;--fill:#eef2f6;"
    "--good:#1b7a43;--warn:#9a5b00;--warn-bg:#fff4de;--shadow:0 1px 2px rgba(23,32,43,.06),0 8px 24px "
    "rgba(23,32,43,.06)";
static const char dark[] = "--bg:#0e1218;--card:#171d26;--ink:#e8edf3;--soft:#9fadbd;--rule:#2b3542;--fill:#202935;"
                           "--good:#6fd39a;--warn:#ffc670;--warn-bg:#33270f;--shadow:none";
static const char light_lines[] =
    ".found{--c:#b3204d}.best{--c:#1b7a43}.mean{--c:#5f6b7a}.skip{--c:#8a5a00}.paper{--c:#6d3fb0}"
    ".range,.middle{--c:#b3204d}.train{--c:#2f5fd0}.valid{--c:#c2510c}.plain{--c:#3c6478}"
    ".passed{--c:#b9c4d0}.ahead{--c:#1b7a43}";
static const char dark_lines[] =
    ".found{--c:#ff7fa3}.best{--c:#6fd39a}.mean{--c:#a7b4c3}.skip{--c:#e3b05a}.paper{--c:#c5a3f7}"
    ".range,.middle{--c:#ff7fa3}.train{--c:#86aaff}.valid{--c:#ffa266}.plain{--c:#8fc1d8}"
    ".passed{--c:#435060}.ahead{--c:#6fd39a}";

static const char sheet[] =
    "*{box-sizing:border-box}"
    "html{-webkit-text-size-adjust:100%}"
    "body{margin:0;background:var(--bg);color:var(--ink);font:16px/1.55 system-ui,-apple-system,'Segoe "
    "UI',Roboto,'Noto "
    "Sans','DejaVu Sans',sans-serif;font-variant-numeric:tabular-nums}"
    "main{max-width:1060px;margin:0 auto;padding:28px 20px 60px}"
    "header h1{font-size:1.75rem;line-height:1.2;margin:.1em 0 .25em;letter-spacing:-.015em;text-wrap:balance}"
    "header p{margin:0;color:var(--soft)}"
    ".state{display:inline-block;font-size:.8rem;font-weight:650;padding:.1em .75em;border-radius:99px;border:1px "
    "solid "
    "currentColor;color:var(--good)}.state.open{color:var(--warn)}"
    "section{background:var(--card);border-radius:16px;box-shadow:var(--shadow);padding:26px 30px;margin-top:22px}"
    "h2{font-size:1.25rem;line-height:1.3;margin:0 0 .35em;letter-spacing:-.01em}"
    "h3{font-size:1rem;margin:0 0 .2em}"
    "section p{margin:.3em 0 .9em;max-width:72ch}"
    ".soft,figcaption{color:var(--soft)}figure{margin:0}figcaption{font-size:.92rem}"
    ".verdict{font-size:1.45rem;line-height:1.35;font-weight:640;letter-spacing:-.012em;max-width:none;text-wrap:"
    "balance;"
    "margin:.25em 0}"
    ".notice{background:var(--warn-bg);color:var(--warn);border-radius:10px;padding:.6em "
    "1em;max-width:none;font-weight:560}"
    ".top{display:grid;grid-template-columns:minmax(0,1.18fr) "
    "minmax(0,1fr);gap:26px;align-items:center;margin-top:18px}"
    ".cell{background:#fff;border:1px solid var(--rule);border-radius:14px;padding:14px 18px;text-align:center}"
    ".cell svg{display:block;margin:0 auto}"
    ".tiles{display:grid;grid-template-columns:repeat(2,minmax(0,1fr));gap:12px;margin:0}"
    ".tiles.four{grid-template-columns:repeat(4,minmax(0,1fr));margin:.4em 0 1.4em}"
    ".tiles div{background:var(--fill);border-radius:12px;padding:12px 16px}"
    ".tiles dt{font-size:.84rem;color:var(--soft);line-height:1.3}"
    ".tiles dd{margin:.1em 0 0;font-size:1.4rem;font-weight:680;letter-spacing:-.01em;line-height:1.25}"
    ".tiles dd small{display:block;font-size:.84rem;font-weight:400;color:var(--soft);letter-spacing:0}"
    ".tiles .main{grid-column:1/-1}.tiles .main dd{font-size:2.9rem;line-height:1.1}.tiles .main dd b{color:var(--c)}"
    "code,pre{font:.86rem/1.5 ui-monospace,SFMono-Regular,'DejaVu Sans Mono',Menlo,monospace}"
    "code.string{display:block;overflow-wrap:anywhere;color:var(--soft);margin:1em 0 0}"
    "pre{background:var(--fill);border-radius:10px;padding:14px 16px;overflow-x:auto;margin:.4em 0 1em}"
    "pre.wrap{white-space:pre-wrap;overflow-wrap:anywhere}"
    ".scroll{overflow-x:auto}"
    "table{border-collapse:collapse;width:100%;font-size:.9rem}.nw{white-space:nowrap}"
    "section>:last-child{margin-bottom:0}"
    "th,td{padding:.42em .5em;text-align:right;border-bottom:1px solid var(--rule);white-space:nowrap}"
    "th{font-weight:600;color:var(--soft);vertical-align:bottom}th:first-child,td:first-child,td.text,th.text{text-"
    "align:left}"
    "tbody tr:last-child>*{border-bottom:0}tr.here>*{font-weight:680;color:var(--ink)}td small{color:var(--soft)}"
    ".standing{margin-top:22px}"
    "details{margin-top:14px}summary{cursor:pointer;color:var(--soft);font-weight:560}details[open] "
    "summary{margin-bottom:.6em}"
    ".two,.three{display:grid;gap:26px 30px;grid-template-columns:repeat(2,minmax(0,1fr));margin-top:14px}"
    ".three{grid-template-columns:repeat(3,minmax(0,1fr));gap:22px 24px}"
    ".chart{display:block;width:100%;height:auto;overflow:visible}"
    ".chart text{font-size:13px;fill:var(--soft)}"
    ".chart .title,.chart .stage{font-size:12.5px}.chart .stage{font-weight:600}"
    ".chart .grid{stroke:var(--rule);stroke-width:1}.chart .axis{stroke:var(--soft);stroke-width:1}"
    ".chart path{fill:none}.chart .span{stroke:var(--soft);stroke-width:1;stroke-dasharray:2 4}"
    ".line,.level,.leader{fill:none;stroke:var(--c);stroke-width:2.2;stroke-linejoin:round;stroke-linecap:round}"
    ".line.found,.line.won{stroke-width:3}.level{stroke-width:1.6;stroke-dasharray:7 5;stroke-linecap:butt}"
    ".chart .leader{stroke:var(--rule);stroke-width:1}"
    ".chart .band,rect.band{fill:var(--c);fill-opacity:.14}.chart .band.middle,rect.band.middle{fill-opacity:.26}"
    ".bar{fill:var(--c)}.chart "
    "text.end{fill:var(--c);font-weight:640;paint-order:stroke;stroke:var(--card);stroke-width:4px;"
    "stroke-linejoin:round}"
    ".narrow{display:none}"
    ".legend{list-style:none;display:flex;flex-wrap:wrap;gap:.25em 1.4em;padding:0;margin:.3em 0 .7em;font-size:.92rem;"
    "color:var(--soft)}.legend b{color:var(--ink);font-weight:640}"
    ".key{width:26px;height:12px;margin-right:.5em;vertical-align:-1px}"
    ".edge{display:flex;justify-content:space-between;gap:.6em;font-size:.95rem;font-weight:600;margin:0}"
    ".edge span{color:var(--c)}"
    "dl.facts{display:grid;grid-template-columns:max-content minmax(0,1fr);gap:.3em 1.4em;margin:1em 0 "
    "0;font-size:.94rem}"
    "dl.facts dt{color:var(--soft)}dl.facts dd{margin:0;overflow-wrap:anywhere}"
    "footer{color:var(--soft);font-size:.86rem;margin-top:22px;text-align:center}"
    "@media screen and "
    "(max-width:860px){.top{grid-template-columns:minmax(0,1fr)}.three,.tiles.four{grid-template-columns:"
    "repeat(2,minmax(0,1fr))}}"
    "@media screen and (max-width:700px){main{padding:18px 12px 40px}section{padding:20px 16px;border-radius:12px}"
    ".wide{display:none}.narrow{display:block;max-width:540px;margin:0 auto}.two{grid-template-columns:minmax(0,1fr)}"
    ".verdict{font-size:1.2rem}header h1{font-size:1.4rem}.tiles .main dd{font-size:2.3rem}"
    "dl.facts{grid-template-columns:minmax(0,1fr);gap:0}dl.facts dd{margin-bottom:.5em}.cell{padding:8px}}"
    "@media screen and (max-width:520px){.three{grid-template-columns:minmax(0,1fr)}}"
    "@media "
    "print{@page{margin:14mm}html{font-size:11.5px}body{background:#fff;font-size:1rem}.scroll{overflow:visible}main{"
    "max-width:none;padding:0}"
    "section{box-shadow:none;border-radius:0;padding:0;margin-top:9mm}"
    "figure,.cell,.tiles div,.edge,tr,.chart{break-inside:avoid}h2,h3,.legend,section>p,figcaption{break-after:avoid}"
    ".tiles div,pre{border:1px solid var(--rule);background:none}pre{white-space:pre-wrap;overflow-wrap:anywhere}"
    ".wide{display:block}.narrow{display:none}details:not([open]){display:none}"
    "*{-webkit-print-color-adjust:exact;print-color-adjust:exact}}";

/* WCAG 2's relative luminance and contrast. */
static double luminance(const double rgb[3]) {
    static const double part[] = {0.2126, 0.7152, 0.0722};
    double sum = 0;
    for (int i = 0; i < 3; i++) {
        double v = rgb[i] / 255;
        sum += part[i] * (v <= 0.04045 ? v / 12.92 : pow((v + 0.055) / 1.055, 2.4));
    }
    return sum;
}

static double contrast(const double a[3], const double b[3]) {
    double x = luminance(a) + 0.05, y = luminance(b) + 0.05;
    return x > y ? x / y : y / x;
}

static void parse_color(const char *hex, double rgb[3]) {
    unsigned long v = strtoul(hex + 1, NULL, 16);
    for (int i = 0; i < 3; i++) rgb[i] = (double)((v >> (16 - 8 * i)) & 255);
}

/* `hex`, moved towards the ink of the page until its contrast to the card is enough for small text. */
static const char *readable(cel_page *page, const char *hex, bool on_dark) {
    double rgb[3], card[3];
    parse_color(hex, rgb);
    parse_color(on_dark ? "#171d26" : "#ffffff", card);
    for (int i = 0; i < 40 && contrast(rgb, card) < 4.5; i++)
        for (int k = 0; k < 3; k++) rgb[k] += ((on_dark ? 255 : 0) - rgb[k]) * 0.05;
    return cel_page_text(page, "#%02x%02x%02x", (int)rgb[0], (int)rgb[1], (int)rgb[2]);
}

static void put_ops(cel_page *page, const cel_report *report, bool on_dark) {
    for (int op = 0; op < report->history->cols; op++)
        cel_page_put(page, ".op%d{--c:%s}", op, readable(page, cel_arch_op_color(report->history->space, op), on_dark));
}

void cel_section_style(cel_page *page, const cel_report *report) {
    cel_page_put(page, "<style>:root{color-scheme:light dark;%s}%s", light, light_lines);
    put_ops(page, report, false);
    cel_page_put(page, "@media screen and (prefers-color-scheme:dark){:root{%s}%s", dark, dark_lines);
    put_ops(page, report, true);
    cel_page_put(page, "}%s", sheet);
    for (int op = 0; op < report->history->cols; op++) {
        const char *name = report->history->topology->op_names[op];
        if (!strcmp(name, "none")) cel_page_put(page, ".line.op%d{stroke-dasharray:.1 5.5}", op);
        if (!strncmp(name, "skip", 4)) cel_page_put(page, ".line.op%d{stroke-dasharray:7 5}", op);
    }
    cel_page_put(page, "</style>\n");
}
