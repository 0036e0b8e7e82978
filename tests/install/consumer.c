/* A program of somebody else: opens the data set that was installed with the library, and says where it found it. */
#include <cellar/data.h>
#include <stdio.h>

int main(void) {
    cel_dataset *data;
    if (cel_dataset_open("cifar10-mini", NULL, &data) != CEL_OK) {
        fprintf(stderr, "%s\n", cel_status_message());
        return 1;
    }
    cel_dataset_info info = cel_dataset_get_info(data);
    printf("%s %d\n", info.path, info.n_images[CEL_PART_TRAIN]);
    cel_dataset_destroy(data);
    return 0;
}
