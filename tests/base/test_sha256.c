/* base/sha256 against the examples of FIPS 180-4, and in pieces of every length. */
#include "base/sha256.h"
#include "support/test.h"

static void published_examples(void **state) {
    (void)state;
    static const struct {
        const char *text, *hex;
    } cases[] = {
        {"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
        {"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
        {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
         "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        cel_sha256 sha;
        char hex[65];
        cel_sha256_init(&sha);
        cel_sha256_add(&sha, cases[i].text, strlen(cases[i].text));
        cel_sha256_hex(&sha, hex);
        assert_string_equal(hex, cases[i].hex);
    }
}

static void pieces_make_the_whole(void **state) {
    (void)state;
    static char as[1000000];
    memset(as, 'a', sizeof as);
    for (size_t piece = 1; piece < 200; piece += 7) {
        cel_sha256 sha;
        char hex[65];
        cel_sha256_init(&sha);
        for (size_t done = 0; done < sizeof as; done += piece)
            cel_sha256_add(&sha, as + done, piece < sizeof as - done ? piece : sizeof as - done);
        cel_sha256_hex(&sha, hex);
        assert_string_equal(hex, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(published_examples), cmocka_unit_test(pieces_make_the_whole)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
