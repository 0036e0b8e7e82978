# Kernels are written once, with GCC vector types, and compiled once for each CPU level. A file NAME.isa.c is compiled with
# CEL_ISA set to the level's name (CEL_ISA_FN(foo) then is foo_avx512, foo_avx2 or foo_base); the backend picks at run time.
# The objects are CELLAR_ISA_OBJECTS, for the libraries: as a usage requirement every test would link all of them directly.
function(cellar_add_isa_objects target)
  if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|amd64|AMD64")
    set(levels base avx2 avx512)
  else()
    set(levels base)
  endif()
  # Kernels stay optimised in every build: an unoptimised vector kernel would make the tests of a dev build crawl. Under
  # sanitizers -O3 runs no faster than -O2 and compiles the largest kernel a third longer. Clang, which takes minutes over
  # each large kernel with UBSan, only builds the fuzz harnesses: those feed parsers, so -O1 without UBSan will do (the dev
  # build's tests run the kernels under it).
  set(optimised -O3)
  if(CELLAR_FUZZ)
    set(optimised -O1)
    set_property(SOURCE ${ARGN} APPEND PROPERTY COMPILE_OPTIONS -fno-sanitize=undefined) # a later word than -fsanitize=
  elseif(CELLAR_SANITIZE)
    set(optimised -O2)
  endif()
  set(flags_base "")
  set(flags_avx2 -mavx2 -mfma -mprefer-vector-width=256)
  set(flags_avx512 -mavx512f -mavx512dq -mavx512bw -mavx512vl -mfma -mprefer-vector-width=512)
  foreach(level IN LISTS levels)
    string(TOUPPER ${level} upper)
    target_compile_definitions(${target} PRIVATE CEL_HAVE_ISA_${upper}=1)
    if(ARGN)
      add_library(cellar_isa_${level} OBJECT ${ARGN})
      target_link_libraries(cellar_isa_${level} PRIVATE cellar_flags)
      target_compile_definitions(cellar_isa_${level} PRIVATE CEL_ISA=${level} CEL_ISA_${upper}=1)
      target_compile_options(cellar_isa_${level} PRIVATE ${optimised} -ffp-contract=fast ${flags_${level}})
      list(APPEND objects $<TARGET_OBJECTS:cellar_isa_${level}>)
    endif()
  endforeach()
  set(CELLAR_ISA_OBJECTS ${objects} PARENT_SCOPE)
endfunction()
