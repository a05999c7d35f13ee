# A project generated and built twice, by ninja and by make, with more jobs than processors.
mkdir -p src/lib
cat >src/CMakeLists.txt <<'P'
cmake_minimum_required(VERSION 3.10)
project(t C)
enable_testing()
add_subdirectory(lib)
foreach(n RANGE 1 12)
  file(WRITE ${CMAKE_BINARY_DIR}/f${n}.c "int f${n}(void) { return ${n}; }\n")
  list(APPEND sources ${CMAKE_BINARY_DIR}/f${n}.c)
endforeach()
add_executable(t t.c ${sources})
target_link_libraries(t lib)
add_test(NAME runs COMMAND t)
add_custom_command(TARGET t POST_BUILD COMMAND ${CMAKE_COMMAND} -E echo built)
P
echo 'add_library(lib SHARED lib.c)' >src/lib/CMakeLists.txt
echo 'int lib(int x) { return x + 1; }' >src/lib/lib.c
printf '%s\n' '#include <stdio.h>' 'int lib(int); int f3(void); int f12(void);' \
  'int main(void) { printf("%d\n", lib(f3() + f12())); return 0; }' >src/t.c
cmake -G Ninja -S src -B b >log 2>&1 || cat log
ninja -C b -j8 | tail -1 | grep -o built; b/t; (cd b && ctest -j4 | grep 'tests passed')
touch src/t.c; ninja -C b -n | grep -c Building; ninja -C b -t clean | grep -o '[0-9]* files'
cmake -S src -B m -G 'Unix Makefiles' >log 2>&1 || cat log
make -s -C m -j8 2>&1 | grep -c Built; m/t
