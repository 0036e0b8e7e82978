/* The pages of a run and of a comparison in a real browser, where there is one: at every width no two labels of a chart overlap, no label
 * leaves its chart, nothing makes the page scroll sideways; and pictures of them, in the build directory, for eyes. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>

#include "base/file.h"
#include "base/mem.h"
#include "cellar/compare.h"
#include "cellar/report.h"
#include "support/fake_run.h"

enum { PATIENCE_S = 90 };

static char *dir, *browser;

static char *find_browser(void) {
    static const char *const names[] = {"/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"};
    const char *chosen = getenv("CHROMIUM");
    if (chosen && *chosen) return cel_strdup(chosen);
    for (size_t i = 0; i < CEL_COUNT(names); i++)
        if (access(names[i], X_OK) == 0) return cel_strdup(names[i]);
    return NULL;
}

/* Searchers alone take no time; their page has every chart but the trajectories. */
static void compare_searchers(void) {
    static const char text[] = "title: a comparison of searchers with a rather long title, as they come\nseeds: 7\n"
                               "datasets: [{name: cifar10, settings: {data: {source: cifar10}}}]\n"
                               "methods:\n"
                               "  - {name: a, label: Random search, searcher: random_search, budget: 400}\n"
                               "  - {name: b, label: Regularised evolution, searcher: rea, budget: 400}\n"
                               "  - {name: c, label: Local search, searcher: local_search, budget: 30}\n"
                               "  - {name: d, label: REINFORCE, searcher: reinforce, budget: 400}\n";
    char *file = cel_path_join(dir, "it.yaml"), *to = cel_path_join(dir, "it"), *page;
    cel_comparison *c;
    fake_file_write(dir, "it.yaml", text);
    test_ok(cel_comparison_open(file, NULL, 0, &c));
    test_ok(cel_comparison_search_all(c, &(cel_comparison_options){.dir = to}));
    test_ok(cel_comparison_text(c, to, CEL_COMPARISON_HTML, &page));
    fake_file_write(dir, "comparison.html", page);
    cel_free(page);
    cel_comparison_destroy(c);
    cel_free(file);
    cel_free(to);
}

static int setup(void **state) {
    (void)state;
    cel_table *table;
    browser = find_browser();
    dir = test_temp_dir();
    test_ok(cel_table_open(NULL, &table));
    fake_run_write(&(fake_run){.table = table, .n_epochs = 20, .n_stages = 2, .n_done = 20}, dir);
    cel_table_close(table);
    test_ok(cel_report_write(dir, NULL));
    compare_searchers();
    return 0;
}
static int teardown(void **state) {
    (void)state;
    test_temp_dir_remove(dir);
    cel_free(browser);
    return 0;
}

static void need_browser(void) {
    if (browser) return;
    print_message("no chromium here (or in $CHROMIUM)\n");
    skip();
}

/* Runs the browser on a file of `dir`; what it prints goes to dir/out. */
static void browse(const char *file, int width, int height, bool dark, const char *action) {
    char *profile = cel_asprintf("--user-data-dir=%s/profile", dir),
         *size = cel_asprintf("--window-size=%d,%d", width, height);
    char *url = cel_asprintf("file://%s/%s", dir, file), *out = cel_path_join(dir, "out");
    pid_t child = fork();
    if (!child) {
        int to = open(out, O_WRONLY | O_CREAT | O_TRUNC, 0600), null = open("/dev/null", O_RDWR);
        dup2(null, 0);
        dup2(to, 1);
        dup2(null, 2);
        setpgid(0, 0);
        unsetenv("LD_PRELOAD");
        execl(browser, browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
              "--hide-scrollbars", "--no-first-run", profile, size,
              dark ? "--blink-settings=preferredColorScheme=0" : "--blink-settings=preferredColorScheme=1", action, url,
              (char *)NULL);
        _exit(127);
    }
    assert_true(child > 0);
    int status = 0;
    double until = cel_clock_s() + PATIENCE_S;
    while (waitpid(child, &status, WNOHANG) == 0) {
        if (cel_clock_s() > until) {
            kill(-child, SIGKILL);
            waitpid(child, &status, 0);
            fail_msg("%s did not finish within %d s", browser, PATIENCE_S);
        }
        usleep(20000);
    }
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    cel_free(profile);
    cel_free(size);
    cel_free(url);
    cel_free(out);
}

/* Looks at the page from inside: labels that overlap, labels outside of their chart, sideways scrolling. */
static const char inspector[] =
    "<script>addEventListener('load',()=>{"
    "document.querySelectorAll('details').forEach(d=>d.open=true);"
    "let texts=0,overlaps=[],outside=[],sideways=document.documentElement.scrollWidth>innerWidth+1;"
    "document.querySelectorAll('svg').forEach(svg=>{const box=svg.getBoundingClientRect();if(!box.width)return;"
    "const all=[...svg.querySelectorAll('text')].map(t=>[t.textContent,t.getBoundingClientRect()]);texts+=all.length;"
    "all.forEach(([name,r],i)=>{if(r.left<box.left-1||r.right>box.right+1||r.top<box.top-1||r.bottom>box.bottom+1)"
    "outside.push(name);for(let k=0;k<i;k++){const "
    "q=all[k][1];if(r.left<q.right-1&&q.left<r.right-1&&r.top<q.bottom-2&&"
    "q.top<r.bottom-2)overlaps.push(name+' on '+all[k][0]);}});});"
    "document.title='width='+innerWidth+' texts='+texts+' overlaps='+overlaps.join(';')+' outside='+outside.join(';')+"
    "' sideways='+sideways+'.';});</script></body>";

static void write_inspected(const char *file) {
    static const char policy[] = "<meta http-equiv=\"Content-Security-Policy\"";
    char *page = fake_file_read(dir, file), *cut = strstr(page, policy), *end = strstr(page, "</body>");
    assert_non_null(cut);
    assert_non_null(end);
    char *rest = strchr(cut, '>') + 1;
    char *inspected =
        cel_asprintf("%.*s%.*s%s%s", (int)(cut - page), page, (int)(end - rest), rest, inspector, end + 7);
    fake_file_write(dir, "inspected.html", inspected);
    cel_free(inspected);
    cel_free(page);
}

static void inspect(const char *file, int least_texts) {
    static const int widths[] = {1280, 760, 400};
    need_browser();
    write_inspected(file);
    for (size_t i = 0; i < CEL_COUNT(widths); i++) {
        browse("inspected.html", widths[i], 1200, false, "--dump-dom");
        char *dom = fake_file_read(dir, "out"), *title = strstr(dom, "<title>width=");
        if (!title) fail_msg("the page was not inspected at width %d", widths[i]);
        char *end = strstr(title, "</title>");
        assert_non_null(end);
        *end = 0;
        int texts = 0;
        assert_int_equal(sscanf(strstr(title, " texts="), " texts=%d", &texts), 1);
        if (texts < least_texts || !strstr(title, " overlaps= outside= sideways=false."))
            fail_msg("%s at %d: %s", file, widths[i], title + 7);
        cel_free(dom);
    }
}

static void labels_keep_apart(void **state) {
    (void)state;
    inspect("report.html", 100);
}

static void labels_of_a_comparison_keep_apart(void **state) {
    (void)state;
    inspect("comparison.html", 40);
}

static void has_its_picture_taken(void **state) {
    (void)state;
    static const struct {
        const char *page, *name;
        int width, height;
        bool dark;
    } shots[] = {{"report.html", "report-wide-light.png", 1280, 3200, false},
                 {"report.html", "report-narrow-dark.png", 500, 3200, true},
                 {"comparison.html", "comparison-wide-light.png", 1280, 2600, false},
                 {"comparison.html", "comparison-narrow-dark.png", 500, 3600, true}};
    need_browser();
    for (size_t i = 0; i < CEL_COUNT(shots); i++) {
        char *png = cel_path_join(CEL_BUILD_DIR, shots[i].name), *action = cel_asprintf("--screenshot=%s", png), *data;
        size_t n;
        unlink(png);
        browse(shots[i].page, shots[i].width, shots[i].height, shots[i].dark, action);
        test_ok(cel_file_read(png, 64 << 20, &data, &n));
        assert_true(n > 50000); /* an empty page is far smaller */
        assert_memory_equal(data, "\x89PNG\r\n\x1a\n", 8);
        cel_free(data);
        cel_free(action);
        cel_free(png);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(labels_keep_apart),
                                       cmocka_unit_test(labels_of_a_comparison_keep_apart),
                                       cmocka_unit_test(has_its_picture_taken)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
