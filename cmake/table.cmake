# The benchmark table: made from data/nb201/*.csv by a small tool of the library's own sources, without network, once.
set(table_dir ${CMAKE_CURRENT_SOURCE_DIR}/data/nb201)
set(table_file ${CMAKE_CURRENT_BINARY_DIR}/data/nb201/nb201.table)
file(MAKE_DIRECTORY ${CMAKE_CURRENT_BINARY_DIR}/data/nb201)
set(src ${CMAKE_CURRENT_SOURCE_DIR}/src)
add_executable(make_table ${table_dir}/make_table.c ${src}/nas/eval/table_write.c ${src}/nas/arch/genotype.c
  ${src}/nas/arch/genotype_text.c ${src}/nas/arch/nb201_order.c ${src}/nas/arch/arch_cost.c ${src}/base/status.c
  ${src}/base/mem.c ${src}/base/file.c ${src}/base/text.c)
target_link_libraries(make_table PRIVATE cellar_flags PkgConfig::DEPS Threads::Threads m)
# Reading numbers is most of its work, and a dev build should not wait for it.
target_compile_options(make_table PRIVATE -O2)
add_custom_command(OUTPUT ${table_file}
  COMMAND make_table ${table_dir} ${table_file}
  DEPENDS make_table ${table_dir}/columns.csv ${table_dir}/nasbench201.csv ${table_dir}/latency.csv
  COMMENT "Making the NAS-Bench-201 table" VERBATIM)
add_custom_target(benchmark_table ALL DEPENDS ${table_file})
install(FILES ${table_file} DESTINATION ${CMAKE_INSTALL_DATADIR}/cellar/nb201)
