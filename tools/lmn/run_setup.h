// SPDX-License-Identifier: Apache-2.0
//
// Setting up a run: the words of `lmn run` to an engine with program, ports, sinks and maps in
// place.
//
// Kept apart from cmd_run.cc so that running and reporting do not know the syntax of the words.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "engine/engine.h"
#include "table_options.h"

namespace lmn {

struct RunWords {
  std::string object;
  std::string program;                     // --prog
  std::vector<std::string> ports;          // --port: with the program
  std::vector<std::string> plain_ports;    // --plain: without
  std::vector<std::string> pass;           // --pass FROM=TO or TO
  std::vector<std::string> redirect_maps;  // --redirect-map MAP:KEY=PORT
  std::vector<std::string> cpu_maps;       // --cpu-map MAP:CPU=SIZE or MAP:CPU=SIZE,PROG
  std::vector<std::string> tail_calls;     // --tail-call MAP:INDEX=PROG
  std::vector<std::string> set_maps;       // --set-map MAP:KEYHEX=VALUEHEX
  std::vector<std::string> rings;          // --read-ring MAP
  std::string routes;                      // --routes FILE, or "host"
  std::string sockets;                     // --sockets FILE, or "host"
  std::uint64_t seed = 0;                  // --seed; 0: from the system
  std::uint64_t clock_ns = 0;              // --clock: the time that stands still; 0: it goes on
  TableWords tables;                       // --conntrack, --fdb, --flows
  std::string mode = "native";
  bool untrusted = false;
};

struct RunSetup {
  std::unique_ptr<FakeClock> clock;  // null: the system's
  std::unique_ptr<Engine> engine;
  LoadedObject* object = nullptr;
  Program* program = nullptr;
  std::vector<Port*> program_ports;
};

// Errors name the word that is wrong.
Result<RunSetup> set_up_run(const RunWords& words);

}  // namespace lmn
