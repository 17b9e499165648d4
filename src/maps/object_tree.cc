// SPDX-License-Identifier: Apache-2.0
//
// Trees of objects: a treap. The order is the program's less function, the shape that of random
// priorities: no node has a higher one than its parent, so that a tree of n nodes is about 2 log n
// deep whatever the order of insertion. The kernel's tree is a red-black tree: which node is root
// or child of which differs, the order does not. Equal nodes stand in the order of insertion.
// Tested by object_heap_test.cc.
#include "maps/object_graph.h"

namespace lmn {
namespace {

using Node = ObjectHeap::Node;

// The pointer that leads to `node`: its parent's or the tree's.
Node*& link_to(Node*& top, Node& node) {
  if (node.parent == nullptr) return top;
  return node.parent->left == &node ? node.parent->left : node.parent->right;
}

// Makes `child` the parent of its parent, which goes down on the other side.
void rotate_up(Node*& top, Node& child) {
  Node& parent = *child.parent;
  link_to(top, parent) = &child;
  child.parent = parent.parent;
  parent.parent = &child;
  if (parent.left == &child) {
    parent.left = child.right;
    if (parent.left != nullptr) parent.left->parent = &parent;
    child.right = &parent;
  } else {
    parent.right = child.left;
    if (parent.right != nullptr) parent.right->parent = &parent;
    child.left = &parent;
  }
}

}  // namespace

bool ObjectHeap::insert(Head& head, Node& node, Less less, void* context) noexcept {
  if (node.owner != nullptr) return false;
  Node** link = &head.top;
  Node* parent = nullptr;
  // A program that changes the tree in its less function could make the way endless: no tree is
  // deeper than all the objects there can be.
  constexpr std::size_t kDepthMax = kHeapBytes / kPayloadMin;
  for (std::size_t depth = 0; *link != nullptr && depth < kDepthMax; ++depth) {
    parent = *link;
    const bool is_before = less(context, node, *parent);
    link = is_before ? &parent->left : &parent->right;
  }
  if (*link != nullptr || node.owner != nullptr) return false;
  node.owner = &head;
  node.left = nullptr;
  node.right = nullptr;
  node.parent = parent;
  *link = &node;
  while (node.parent != nullptr && node.parent->priority < node.priority) {
    rotate_up(head.top, node);
  }
  return true;
}

bool ObjectHeap::remove(Head& head, Node& node) noexcept {
  if (node.owner != &head) return false;
  while (node.left != nullptr || node.right != nullptr) {
    Node* up = node.left;
    if (up == nullptr || (node.right != nullptr && node.right->priority > up->priority)) {
      up = node.right;
    }
    rotate_up(head.top, *up);
  }
  link_to(head.top, node) = nullptr;
  node.parent = nullptr;
  node.owner = nullptr;
  return true;
}

Node* ObjectHeap::first(const Head& head) noexcept {
  Node* node = head.top;
  while (node != nullptr && node->left != nullptr) node = node->left;
  return node;
}

Node* ObjectHeap::root(const Head& head) noexcept { return head.top; }

Node* ObjectHeap::child(const Head& head, const Node& node, End end) noexcept {
  if (node.owner != &head) return nullptr;
  return end == End::kFront ? node.left : node.right;
}

}  // namespace lmn
