// SPDX-License-Identifier: Apache-2.0
//
// Dispatcher: what runs on the frames of a port: immutable, replaced as a whole, never edited.
//
// Today it holds one program; several programs with chain-call masks become more fields here and
// nothing else moves. Owner: the engine, which frees an old one only when no worker can still be
// inside it. Threads: read by workers, immutable.
#pragma once

#include <string>

#include "exec/compiled_program.h"

namespace lmn {

struct Dispatcher {
  CompiledProgram* program = nullptr;
  std::string program_name;  // for messages of helpers that run in it
};

}  // namespace lmn
