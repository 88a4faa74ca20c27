/* bcryptprimitives.dll for versions of Wine that have none (before 9): the one function of it that Rust's standard library
   calls. Windows has its own. */
#include <windows.h>
#include <ntsecapi.h>

__declspec(dllexport) BOOL WINAPI ProcessPrng(PBYTE data, SIZE_T length) {
  return RtlGenRandom(data, (ULONG)length);
}
