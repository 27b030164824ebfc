# cuda.cmake: objects of the CUDA backend. nvcc is called directly for a handful of files: sm_80 (and
# its PTX, for later families) and sm_90a, nothing else, so that the build stays short. The runtime is
# linked statically and finds the driver at run time: programs start on machines without one.
# Sets LAC_CUDA_OBJECTS, LAC_CUDA_LIBRARIES, LAC_CUDA_STATE; adds to LAC_DEFINES.
set(LAC_CUDA_OBJECTS)
set(LAC_CUDA_LIBRARIES)
set(LAC_CUDA_STATE "off")
set(LAC_CUDA_PRIVATE) # for programs that link the static library
if(LAC_CUDA STREQUAL "OFF" OR (LAC_CUDA STREQUAL "AUTO" AND LAC_SANITIZE))
  return()
endif()
find_program(LAC_NVCC nvcc HINTS /usr/local/cuda/bin)
if(NOT LAC_NVCC)
  if(LAC_CUDA STREQUAL "ON")
    message(FATAL_ERROR "LAC_CUDA is ON and there is no nvcc")
  endif()
  set(LAC_CUDA_STATE "off (no nvcc)")
  return()
endif()

set(LAC_NVCC_FLAGS -std=c++17 -O3 -I${PROJECT_SOURCE_DIR}/src
  -Xcompiler=-fPIC,-fvisibility=hidden,-fno-exceptions,-fno-rtti,-fno-threadsafe-statics,-Wall,-Wextra
  -gencode=arch=compute_80,code=[sm_80,compute_80] -gencode=arch=compute_90a,code=sm_90a)
# Whether it works: a compiler that nvcc accepts, its headers, its static runtime.
set(LAC_NVCC_TRIAL ${CMAKE_BINARY_DIR}/nvcc_trial)
if(NOT LAC_NVCC_WORKS STREQUAL LAC_NVCC)
  file(WRITE ${LAC_NVCC_TRIAL}.cu "#include <cuda_runtime.h>\n__global__ void k(int *p) { *p = 1; }\n\
int main() { int n = 0; k<<<1, 1>>>(nullptr); return cudaGetDeviceCount(&n) == cudaErrorUnknown; }\n")
  execute_process(COMMAND ${LAC_NVCC} ${LAC_NVCC_FLAGS} -cudart static ${LAC_NVCC_TRIAL}.cu
    -o ${LAC_NVCC_TRIAL} RESULT_VARIABLE failed OUTPUT_QUIET ERROR_VARIABLE said)
  if(failed)
    if(LAC_CUDA STREQUAL "ON")
      message(FATAL_ERROR "LAC_CUDA is ON and nvcc does not work:\n${said}")
    endif()
    set(LAC_CUDA_STATE "off (nvcc does not work)")
    return()
  endif()
  set(LAC_NVCC_WORKS ${LAC_NVCC} CACHE INTERNAL "")
endif()
# The static runtime lies below the toolkit that nvcc names.
execute_process(COMMAND ${LAC_NVCC} --dryrun -c ${LAC_NVCC_TRIAL}.cu ERROR_VARIABLE said OUTPUT_QUIET)
string(REGEX MATCH "#\\$ TOP=([^\n]*)" matched "${said}")
find_library(LAC_CUDART cudart_static HINTS ${CMAKE_MATCH_1} /usr/local/cuda
  PATH_SUFFIXES lib64 lib targets/x86_64-linux/lib targets/sbsa-linux/lib NO_CMAKE_FIND_ROOT_PATH)
if(NOT LAC_CUDART)
  set(LAC_CUDA_STATE "off (no libcudart_static.a)")
  return()
endif()

file(GLOB LAC_CUDA_SOURCES CONFIGURE_DEPENDS src/backend/cuda/*.cu)
file(GLOB LAC_CUDA_HEADERS CONFIGURE_DEPENDS src/backend/cuda/*.h)
foreach(source ${LAC_CUDA_SOURCES})
  get_filename_component(name ${source} NAME_WE)
  set(object ${CMAKE_BINARY_DIR}/${name}.o)
  add_custom_command(OUTPUT ${object} DEPENDS ${source} ${LAC_CUDA_HEADERS} src/base/rng.h
    COMMAND ${LAC_NVCC} ${LAC_NVCC_FLAGS} -c ${source} -o ${object} COMMENT "nvcc ${name}" VERBATIM)
  list(APPEND LAC_CUDA_OBJECTS ${object})
endforeach()
set_source_files_properties(${LAC_CUDA_OBJECTS} PROPERTIES EXTERNAL_OBJECT TRUE GENERATED TRUE)
add_custom_target(lac_cuda DEPENDS ${LAC_CUDA_OBJECTS})
set(LAC_CUDA_LIBRARIES ${LAC_CUDART} rt -Wl,--exclude-libs,libcudart_static.a)
set(LAC_CUDA_PRIVATE "${LAC_CUDART} -ldl -lrt -lpthread")
list(APPEND LAC_DEFINES LACI_HAVE_CUDA)
set(LAC_CUDA_STATE "sm_80, sm_90a")
