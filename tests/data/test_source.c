/* Contract of every registered source: for each of its layouts small files are written from the layout's own table; good ones open, with
 * the same content hash whatever the form, and each kind of bad file is one clear error that names it. */
#define _GNU_SOURCE
#include <archive.h>
#include <archive_entry.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/mem.h"
#include "data/pickle.h"
#include "data/source.h"
#include "support/test.h"

#define CEL_SOURCE(name) extern const cel_source cel_source_##name;
#include "data/sources.def"
#undef CEL_SOURCE
static const cel_source *const sources[] = {
#define CEL_SOURCE(name) &cel_source_##name,
#include "data/sources.def"
#undef CEL_SOURCE
};

enum { PER_PART = 40 }; /* images of a part, spread evenly over its files */

typedef struct {
    char *data;
    size_t n, room;
} buffer;

static void put(buffer *b, const void *data, size_t n) {
    if (b->n + n > b->room) {
        size_t room = 2 * (b->n + n);
        b->data = cel_realloc(b->data, b->room, room, 1);
        assert_non_null(b->data);
        b->room = room;
    }
    memcpy(b->data + b->n, data, n);
    b->n += n;
}
static void put_text(buffer *b, const char *text) { put(b, text, strlen(text)); }
static void put_little(buffer *b, uint32_t v) {
    put(b, (uint8_t[4]){(uint8_t)v, (uint8_t)(v >> 8), (uint8_t)(v >> 16), (uint8_t)(v >> 24)}, 4);
}

static size_t image_bytes(const cel_source *s) { return (size_t)s->channels * (size_t)s->height * (size_t)s->width; }

static uint8_t pixel(int part, int image, size_t k) {
    return (uint8_t)(part * 101 + image * 37 + (int)k * 13 + (int)(k * k % 7));
}
static int label_of(const cel_source *s, int image) { return image * 7 % s->n_classes; }

/* What a test changes in one file. */
typedef enum { GOOD, BAD_LABEL, BAD_LABEL_LOW, TRUNCATED, EMPTY, WRONG_SIZE, WRONG_SHAPE, MORE_LABELS, DAMAGES } damage;

static void put_short_text(buffer *b, const char *text) {
    put(b, (uint8_t[2]){'U', (uint8_t)strlen(text)}, 2);
    put_text(b, text);
}

/* Images first .. first + n - 1 of a part as a file of the layout; a bad label goes to the last image. */
static buffer make_file(const cel_source *s, const cel_layout *l, int part, int first, int n, damage how) {
    buffer b = {0};
    size_t image = image_bytes(s), side = how == WRONG_SIZE ? image - 1 : image;
    int labels[PER_PART + 1];
    for (int i = 0; i < n; i++) labels[i] = label_of(s, first + i) + l->first_label;
    if (how == BAD_LABEL) labels[n - 1] = l->last_label + 1;
    if (how == BAD_LABEL_LOW) labels[n - 1] = l->first_label - 1;
    if (l->label_key) { /* as Python 2 wrote the official batches */
        put(&b, "\x80\x02}(", 4);
        put_short_text(&b, l->label_key);
        put_text(&b, "](");
        for (int i = 0; i < n + (how == MORE_LABELS); i++) {
            put_text(&b, "J");
            put_little(&b, i < n ? (uint32_t)labels[i] : 1);
        }
        put_text(&b, "e");
        put_short_text(&b, "data");
        put_text(&b, "cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n");
        put(&b,
            "K\x00\x85U\x01"
            "b\x87R(K\x01J",
            12);
        put_little(&b, how == WRONG_SHAPE ? (uint32_t)side : (uint32_t)n);
        put_text(&b, "J");
        put_little(&b, how == WRONG_SHAPE ? (uint32_t)n : (uint32_t)side);
        put_text(&b, "\x86"
                     "cnumpy\ndtype\nU\x02u1");
        put(&b, "K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89T", 31);
        put_little(&b, (uint32_t)(side * (size_t)n));
    }
    for (int i = 0; i < n; i++) {
        uint8_t head[8] = {0};
        if (!l->label_key) {
            head[l->label_at] = (uint8_t)labels[i];
            put(&b, head, (size_t)l->label_bytes);
        }
        for (size_t k = 0; k < side; k++) put(&b, (uint8_t[1]){pixel(part, first + i, k)}, 1);
    }
    if (l->label_key) put_text(&b, "tbu.");
    if (how == TRUNCATED) b.n -= 5;
    if (how == EMPTY) b.n = 0;
    return b;
}

static int count(const char *const *list) {
    int n = 0;
    while (list[n]) n++;
    return n;
}

static void write_file(const char *dir, const char *name, const buffer *b) {
    char *path = cel_path_join(dir, name);
    FILE *f = fopen(path, "wb"); /* hundreds of files: not synced one by one */
    assert_non_null(f);
    assert_int_equal(fwrite(b->data, 1, b->n, f), b->n);
    assert_int_equal(fclose(f), 0);
    cel_free(path);
}

/* All files of a layout; the file `bad_file` of part `bad_part` is damaged. */
static void write_layout(const char *dir, const cel_source *s, const cel_layout *l, int bad_part, int bad_file,
                         damage how) {
    for (int part = 0; part < CEL_PART_COUNT; part++) {
        int n_files = count(l->files[part]), each = PER_PART / n_files;
        for (int f = 0; f < n_files; f++) {
            buffer b = make_file(s, l, part, f * each, each, part == bad_part && f == bad_file ? how : GOOD);
            write_file(dir, l->files[part][f], &b);
            cel_free(b.data);
        }
    }
}

static void tar_layout(const char *path, const char *inside, const cel_source *s, const cel_layout *l) {
    struct archive *a = archive_write_new();
    archive_write_add_filter_gzip(a);
    archive_write_set_format_ustar(a);
    assert_int_equal(archive_write_open_filename(a, path), ARCHIVE_OK);
    for (int part = 0; part < CEL_PART_COUNT; part++) {
        int n_files = count(l->files[part]), each = PER_PART / n_files;
        for (int f = 0; f < n_files; f++) {
            buffer b = make_file(s, l, part, f * each, each, GOOD);
            char *name = cel_path_join(inside, l->files[part][f]);
            struct archive_entry *e = archive_entry_new();
            archive_entry_set_pathname(e, name);
            archive_entry_set_size(e, (la_int64_t)b.n);
            archive_entry_set_filetype(e, AE_IFREG);
            archive_entry_set_perm(e, 0644);
            assert_int_equal(archive_write_header(a, e), ARCHIVE_OK);
            assert_int_equal(archive_write_data(a, b.data, b.n), (la_ssize_t)b.n);
            archive_entry_free(e);
            cel_free(name);
            cel_free(b.data);
        }
    }
    assert_int_equal(archive_write_free(a), ARCHIVE_OK);
}

static void check_content(const cel_source *s, const cel_layout *l, const cel_dataset *d, char sha[65]) {
    cel_dataset_info info = cel_dataset_get_info(d);
    assert_string_equal(info.name, s->name);
    assert_string_equal(info.form, l->form);
    assert_int_equal(info.channels * info.height * info.width, (int)image_bytes(s));
    assert_int_equal(info.n_classes, s->n_classes);
    for (int part = 0; part < CEL_PART_COUNT; part++) {
        int each = PER_PART / count(l->files[part]);
        assert_int_equal(info.n_images[part], each * count(l->files[part]));
        for (int i = 0; i < info.n_images[part]; i++) {
            assert_int_equal(cel_dataset_label(d, (cel_part)part, i), label_of(s, i));
            const uint8_t *p = cel_dataset_image(d, (cel_part)part, i);
            for (size_t k = 0; k < image_bytes(s); k++) assert_int_equal(p[k], pixel(part, i, k));
        }
    }
    for (int c = 0; c < info.channels; c++)
        assert_true(info.mean[c] > 0 && info.mean[c] < 1 && info.std[c] > 0 && info.std[c] < 0.5);
    assert_int_equal(strlen(info.sha256), 64);
    if (*sha) assert_string_equal(info.sha256, sha);
    snprintf(sha, 65, "%s", info.sha256);
}

static void every_form_opens_and_means_the_same(void **state) {
    (void)state;
    for (size_t i = 0; i < CEL_COUNT(sources); i++) {
        const cel_source *s = sources[i];
        char sha[65] = "";
        for (int k = 0; k < s->n_layouts; k++) {
            const cel_layout *l = &s->layouts[k];
            char *dir = test_temp_dir(), *sub = cel_path_join(dir, "below"),
                 *tar = cel_path_join(dir, "below/all.tar.gz");
            cel_dataset *d;
            write_layout(dir, s, l, -1, 0, GOOD);
            test_ok(cel_dataset_open(s->name, dir, &d));
            check_content(s, l, d, sha);
            cel_dataset_destroy(d);
            test_ok(cel_dir_make(sub));
            tar_layout(tar, "some/where", s, l);
            test_ok(cel_dataset_open(s->name, tar, &d)); /* the archive itself */
            check_content(s, l, d, sha);
            cel_dataset_destroy(d);
            for (const char *const *a = s->archives; *a; a++) { /* a directory that holds it under its official name */
                char *official = cel_path_join(sub, *a);
                assert_int_equal(rename(tar, official), 0);
                test_ok(cel_dataset_open(s->name, sub, &d));
                check_content(s, l, d, sha);
                cel_dataset_destroy(d);
                assert_int_equal(rename(official, tar), 0);
                cel_free(official);
            }
            for (const char *const *x = s->subdirs; *x; x++) { /* one that holds the official directory */
                char *inner = cel_path_join(sub, *x);
                test_ok(cel_dir_make(inner));
                write_layout(inner, s, l, -1, 0, GOOD);
                test_ok(cel_dataset_open(s->name, sub, &d));
                check_content(s, l, d, sha);
                cel_dataset_destroy(d);
                cel_free(inner);
            }
            cel_free(sub);
            cel_free(tar);
            test_temp_dir_remove(dir);
        }
    }
}

static void bad_files_are_named(void **state) {
    (void)state;
    static const struct {
        damage how;
        const char *record_part, *python_part; /* NULL: does not apply */
    } cases[] = {
        {BAD_LABEL, "label", "label"},
        {BAD_LABEL_LOW, NULL, "label"},
        {TRUNCATED, "cut off", "cut off"},
        {EMPTY, "empty", "empty"},
        {WRONG_SIZE, "multiple of", "multiple of"},
        {WRONG_SHAPE, NULL, "is no array of n x "},
        {MORE_LABELS, NULL, "labels for"},
    };
    for (size_t i = 0; i < CEL_COUNT(sources); i++)
        for (int k = 0; k < sources[i]->n_layouts; k++)
            for (size_t c = 0; c < CEL_COUNT(cases); c++)
                for (int part = 0; part < CEL_PART_COUNT; part++) {
                    const cel_source *s = sources[i];
                    const cel_layout *l = &s->layouts[k];
                    const char *want = l->label_key ? cases[c].python_part : cases[c].record_part;
                    if (!want || (cases[c].how == BAD_LABEL && !l->label_key && l->last_label == 255)) continue;
                    char *dir = test_temp_dir();
                    cel_dataset *d;
                    int bad = count(l->files[part]) - 1;
                    write_layout(dir, s, l, part, bad, cases[c].how);
                    test_fails(cel_dataset_open(s->name, dir, &d), CEL_FORMAT, want);
                    assert_non_null(strstr(cel_status_message(), l->files[part][bad]));
                    test_temp_dir_remove(dir);
                }
}

static void missing_uneven_and_oversized_files(void **state) {
    (void)state;
    for (size_t i = 0; i < CEL_COUNT(sources); i++)
        for (int k = 0; k < sources[i]->n_layouts; k++) {
            const cel_source *s = sources[i];
            const cel_layout *l = &s->layouts[k];
            char *dir = test_temp_dir();
            cel_dataset *d;
            int last = count(l->files[0]) - 1;
            char *path = cel_path_join(dir, l->files[0][last]);
            write_layout(dir, s, l, -1, 0, GOOD);
            assert_int_equal(truncate(path, (off_t)1 << 40), 0); /* a hole: takes no room */
            test_fails(cel_dataset_open(s->name, dir, &d), CEL_FORMAT, "at most");
            if (l->equal_files) {
                buffer b = make_file(s, l, 0, 0, 1, GOOD);
                write_file(dir, l->files[0][last], &b);
                cel_free(b.data);
                test_fails(cel_dataset_open(s->name, dir, &d), CEL_FORMAT, "1 images, expected");
            }
            assert_int_equal(unlink(path), 0);
            test_fails(cel_dataset_open(s->name, dir, &d), CEL_NOTFOUND, l->files[0][last]);
            cel_free(path);
            test_temp_dir_remove(dir);
        }
}

static void class_names_come_from_the_files(void **state) {
    (void)state;
    char *dir = test_temp_dir();
    cel_dataset *d;
    const char *names = "airplane\nautomobile\nbird\ncat\ndeer\ndog\nfrog\r\nhorse\nship\nn02\ttruck\n\n";
    write_layout(dir, &cel_source_cifar10, &cel_source_cifar10.layouts[0], -1, 0, GOOD);
    test_ok(cel_dataset_open("cifar10", dir, &d));
    assert_string_equal(cel_dataset_get_info(d).class_names[9], "9");
    cel_dataset_destroy(d);
    write_file(dir, "batches.meta.txt", &(buffer){.data = (char *)(uintptr_t)names, .n = strlen(names)});
    test_ok(cel_dataset_open("cifar10", dir, &d));
    assert_string_equal(cel_dataset_get_info(d).class_names[6], "frog");
    assert_string_equal(cel_dataset_get_info(d).class_names[9], "truck");
    cel_dataset_destroy(d);
    write_file(dir, "batches.meta.txt", &(buffer){.data = (char *)(uintptr_t)names, .n = 20});
    test_fails(cel_dataset_open("cifar10", dir, &d), CEL_FORMAT, "2 class names, expected 10");
    test_temp_dir_remove(dir);

    dir = test_temp_dir();
    write_layout(dir, &cel_source_cifar10, &cel_source_cifar10.layouts[2], -1, 0, GOOD);
    const char *meta = "(dVlabel_names\n(lVa\naVb\naVc\naVd\naVe\naVf\naVg\naVh\naVi\naVj\nas.";
    write_file(dir, "batches.meta", &(buffer){.data = (char *)(uintptr_t)meta, .n = strlen(meta)});
    test_ok(cel_dataset_open("cifar10", dir, &d));
    assert_string_equal(cel_dataset_get_info(d).class_names[9], "j");
    cel_dataset_destroy(d);
    meta = "(dVlabel_names\n(lVa\naVb\nas.";
    write_file(dir, "batches.meta", &(buffer){.data = (char *)(uintptr_t)meta, .n = strlen(meta)});
    test_fails(cel_dataset_open("cifar10", dir, &d), CEL_FORMAT, "2 class names");
    meta = "(dVlabel_names\n(lK\x01"
           "aK\x01"
           "aK\x01"
           "aK\x01"
           "aK\x01"
           "aK\x01"
           "aK\x01"
           "aK\x01"
           "aK\x01"
           "aK\x01"
           "as.";
    write_file(dir, "batches.meta", &(buffer){.data = (char *)(uintptr_t)meta, .n = strlen(meta)});
    test_fails(cel_dataset_open("cifar10", dir, &d), CEL_FORMAT, "class name 0");
    test_temp_dir_remove(dir);
}

/* ImageNet16 holds 1,000 classes, counted from 1: 1 .. 120 stay. */
static void other_classes_are_left_out(void **state) {
    (void)state;
    const cel_source *s = &cel_source_imagenet16;
    const cel_layout *l = &s->layouts[0];
    assert_string_equal(l->form, "python");
    char *dir = test_temp_dir();
    cel_dataset *d;
    write_layout(dir, s, l, -1, 0, GOOD);
    buffer b = make_file(s, l, 0, 0, 4, GOOD);
    /* the labels of images 1 and 2 become 121 and 1000; each is a J and four bytes, behind the list's opening */
    uint8_t *at = memmem(b.data, b.n, "](J", 3);
    assert_non_null(at);
    at += 3;
    at[5] = 121, at[6] = 0;
    at[10] = 1000 & 255, at[11] = 1000 >> 8;
    write_file(dir, l->files[0][0], &b);
    cel_free(b.data);
    test_ok(cel_dataset_open(s->name, dir, &d));
    assert_int_equal(cel_dataset_get_info(d).n_images[0], PER_PART - 2);
    assert_int_equal(cel_dataset_label(d, CEL_PART_TRAIN, 0), label_of(s, 0));
    assert_int_equal(cel_dataset_label(d, CEL_PART_TRAIN, 1), label_of(s, 3));
    assert_int_equal(cel_dataset_image(d, CEL_PART_TRAIN, 1)[5], pixel(0, 3, 5));
    cel_dataset_destroy(d);
    test_temp_dir_remove(dir);
}

/* Python 3 writes bytes as text below protocol 3: the pixels then lie in no file. */
static void pixels_written_as_text(void **state) {
    (void)state;
    const cel_source *s = &cel_source_cifar100;
    const cel_layout *l = &s->layouts[1];
    char *dir = test_temp_dir(), sha[65] = "";
    cel_dataset *d;
    write_layout(dir, s, l, -1, 0, GOOD);
    buffer plain = make_file(s, l, 0, 0, PER_PART, GOOD), b = {0};
    uint8_t *raw = memmem(plain.data, plain.n, "\x89T", 2);
    assert_non_null(raw);
    put(&b, plain.data, (size_t)((char *)raw + 1 - plain.data));
    put_text(&b, "c_codecs\nencode\n(X");
    size_t n = 0, all = image_bytes(s) * PER_PART;
    uint8_t *text = cel_alloc(2 * all, 1);
    for (size_t i = 0; i < all; i++) {
        uint8_t c = raw[6 + i];
        if (c >= 0x80) text[n++] = (uint8_t)(0xc0 | c >> 6);
        text[n++] = c < 0x80 ? c : (uint8_t)(0x80 | (c & 0x3f));
    }
    put_little(&b, (uint32_t)n);
    put(&b, text, n);
    put_text(&b, "U\x06latin1tRtbu.");
    write_file(dir, l->files[0][0], &b);
    test_ok(cel_dataset_open(s->name, dir, &d));
    check_content(s, l, d, sha);
    cel_dataset_destroy(d);
    cel_free(text);
    cel_free(b.data);
    cel_free(plain.data);
    test_temp_dir_remove(dir);
}

static void archives_may_be_damaged(void **state) {
    (void)state;
    const cel_source *s = &cel_source_cifar10;
    char *dir = test_temp_dir(), *tar = cel_path_join(dir, "x.tar.gz"), *data;
    cel_dataset *d;
    size_t n;
    tar_layout(tar, "x", s, &s->layouts[0]);
    test_ok(cel_file_read(tar, 64 << 20, &data, &n));
    for (int eighth = 0; eighth < 8; eighth++) {
        test_ok(cel_file_write_atomic(tar, data, n * (size_t)eighth / 8));
        test_fails(cel_dataset_open(s->name, tar, &d), CEL_FORMAT, "x.tar.gz");
    }
    for (size_t at = 0; at < n;
         at += n / 200 + 1) { /* also where it would only change a pixel; the first bytes hold a time */
        if (at >= 4 && at < 10) continue;
        data[at] ^= 0x55;
        write_file(dir, "x.tar.gz", &(buffer){.data = data, .n = n});
        assert_int_equal(cel_dataset_open(s->name, tar, &d), CEL_FORMAT);
        data[at] ^= 0x55;
    }
    test_ok(cel_file_write_atomic(tar, "hello, world", 12));
    test_fails(cel_dataset_open(s->name, tar, &d), CEL_FORMAT, "tar archive");
    cel_free(data);
    cel_free(tar);
    test_temp_dir_remove(dir);
}

static void what_is_not_there(void **state) {
    (void)state;
    cel_dataset *d;
    char *dir = test_temp_dir();
    for (size_t i = 0; i < CEL_COUNT(sources); i++) {
        if (!sources[i]->n_layouts) continue;
        test_fails(cel_dataset_open(sources[i]->name, dir, &d), CEL_NOTFOUND, sources[i]->layouts[0].files[0][0]);
        test_fails(cel_dataset_open(sources[i]->name, "/nowhere/at/all", &d), CEL_NOTFOUND, "/nowhere/at/all");
    }
    char *folder = cel_path_join(dir, "train"); /* a directory with the name of a file: as in a tree of images */
    test_ok(cel_dir_make(folder));
    test_fails(cel_dataset_open("cifar100", dir, &d), CEL_NOTFOUND, "looked for");
    cel_free(folder);
    test_fails(cel_dataset_open("cifar10", NULL, &d), CEL_CONFIG, "needs the path");
    test_fails(cel_dataset_open("cifar1O", dir, &d), CEL_CONFIG, "did you mean cifar10?");
    test_fails(cel_dataset_open("synthetic", dir, &d), CEL_CONFIG, "no path");
    test_temp_dir_remove(dir);
}

static void sources_are_listed(void **state) {
    (void)state;
    assert_int_equal(cel_source_count(), (int)CEL_COUNT(sources));
    for (int i = 0; i < cel_source_count(); i++) {
        cel_source_info info = cel_source_get(i);
        char *files = cel_source_files(i);
        assert_non_null(files);
        assert_true(*info.name && *info.about);
        if (info.needs_path) assert_true(*files);
        if (!info.needs_path) { /* opens as it is */
            cel_dataset *d;
            test_ok(cel_dataset_open(info.name, NULL, &d));
            cel_dataset_info got = cel_dataset_get_info(d);
            assert_int_equal(got.n_images[0], sources[i]->complete[0] ? sources[i]->complete[0] : 1000);
            cel_dataset_destroy(d);
        }
        cel_free(files);
    }
}

static void the_mini_set_is_the_real_one(void **state) {
    (void)state;
    cel_dataset *d;
    test_ok(cel_dataset_open("cifar10-mini", NULL, &d));
    cel_dataset_info info = cel_dataset_get_info(d);
    int per_class[10] = {0};
    for (int i = 0; i < info.n_images[0]; i++) per_class[cel_dataset_label(d, CEL_PART_TRAIN, i)]++;
    for (int c = 0; c < 10; c++) assert_int_equal(per_class[c], 500);
    assert_string_equal(info.class_names[0], "airplane");
    assert_int_equal(cel_dataset_label(d, CEL_PART_TRAIN, 0), 6); /* the first image of CIFAR-10 is a frog */
    test_close(info.mean[0], 0.4914, 0, 2e-3, "mean of red");
    test_close(info.std[2], 0.2616, 0, 3e-3, "deviation of blue");
    cel_dataset_destroy(d);
}

static void synthetic_images_are_learnable(void **state) {
    (void)state;
    cel_dataset *d, *again, *other;
    cel_synthetic what = {
        .seed = 3, .n_train = 200, .n_test = 100, .n_classes = 4, .channels = 3, .height = 16, .width = 12};
    test_ok(cel_dataset_synthetic(&what, &d));
    test_ok(cel_dataset_synthetic(&what, &again));
    what.seed = 4;
    test_ok(cel_dataset_synthetic(&what, &other));
    assert_string_equal(cel_dataset_get_info(d).sha256, cel_dataset_get_info(again).sha256);
    assert_string_not_equal(cel_dataset_get_info(d).sha256, cel_dataset_get_info(other).sha256);
    enum { PIXELS = 3 * 16 * 12 };
    static double centre[4][PIXELS];
    memset(centre, 0, sizeof centre);
    for (int i = 0; i < 200; i++)
        for (int k = 0; k < PIXELS; k++)
            centre[cel_dataset_label(d, CEL_PART_TRAIN, i)][k] += cel_dataset_image(d, CEL_PART_TRAIN, i)[k] / 50.0;
    int right = 0;
    for (int i = 0; i < 100; i++) { /* the nearest class mean already knows most of them */
        double best = INFINITY;
        int guess = 0;
        for (int c = 0; c < 4; c++) {
            double far = 0;
            for (int k = 0; k < PIXELS; k++) {
                double gap = cel_dataset_image(d, CEL_PART_TEST, i)[k] - centre[c][k];
                far += gap * gap;
            }
            if (far < best) best = far, guess = c;
        }
        right += guess == cel_dataset_label(d, CEL_PART_TEST, i);
    }
    assert_true(right > 80);
    what.n_classes = 1;
    test_fails(cel_dataset_synthetic(&what, &again), CEL_CONFIG, "n_classes");
    cel_dataset_destroy(d);
    cel_dataset_destroy(other);
    what.n_classes = 4;
    what.seed = 3;
    cel_dataset_destroy(again);
}

/* Every allocation fails once, for a record form, a python form and an archive. */
static void memory_may_run_out(void **state) {
    (void)state;
    for (int form = 0; form < 4; form++) {
        const cel_source *s = &cel_source_cifar10;
        const cel_layout *l = &s->layouts[form < 2 ? 0 : 2];
        char *dir = test_temp_dir(), *tar = cel_path_join(dir, "x.tar.gz");
        if (form % 2)
            tar_layout(tar, "x", s, l);
        else
            write_layout(dir, s, l, -1, 0, GOOD);
        cel_dataset *d;
        cel_status status = CEL_NOMEM;
        int tries = 0;
        while (status == CEL_NOMEM) {
            assert_true(++tries < 500);
            cel_mem_fail_at((uint64_t)tries);
            status = cel_dataset_open(s->name, form % 2 ? tar : dir, &d);
        }
        cel_mem_fail_at(0);
        test_ok(status);
        assert_true(tries > 8);
        cel_dataset_destroy(d);
        cel_free(tar);
        test_temp_dir_remove(dir);
    }
}

/* Real folders, where the machine has them: $CELLAR_TEST_DATA holds cifar100-mini and tinyimagenet16-120. */
static void real_folders(void **state) {
    (void)state;
    const char *root = getenv("CELLAR_TEST_DATA");
    if (!root) {
        print_message("CELLAR_TEST_DATA is not set: skipped\n");
        skip();
    }
    static const struct {
        const char *source, *folder;
        int n[2];
        const char *first_class;
    } cases[] = {{"cifar100", "cifar100-mini", {2500, 1000}, "apple"},
                 {"imagenet16-120", "tinyimagenet16-120", {6000, 1200}, "goldfish, Carassius auratus"},
                 {"cifar10", "cifar10-mini", {5000, 1000}, "airplane"}};
    for (size_t i = 0; i < CEL_COUNT(cases); i++) {
        char *path = cel_path_join(root, cases[i].folder);
        cel_dataset *d;
        test_ok(cel_dataset_open(cases[i].source, path, &d));
        cel_dataset_info info = cel_dataset_get_info(d);
        assert_int_equal(info.n_images[0], cases[i].n[0]);
        assert_int_equal(info.n_images[1], cases[i].n[1]);
        assert_string_equal(info.class_names[0], cases[i].first_class);
        cel_dataset_destroy(d);
        cel_free(path);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_form_opens_and_means_the_same),
        cmocka_unit_test(bad_files_are_named),
        cmocka_unit_test(missing_uneven_and_oversized_files),
        cmocka_unit_test(class_names_come_from_the_files),
        cmocka_unit_test(other_classes_are_left_out),
        cmocka_unit_test(pixels_written_as_text),
        cmocka_unit_test(archives_may_be_damaged),
        cmocka_unit_test(what_is_not_there),
        cmocka_unit_test(sources_are_listed),
        cmocka_unit_test(the_mini_set_is_the_real_one),
        cmocka_unit_test(synthetic_images_are_learnable),
        cmocka_unit_test(memory_may_run_out),
        cmocka_unit_test(real_folders),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
