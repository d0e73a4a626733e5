// Needs a host function that no node has: refused by the import's name.
__attribute__((import_module("acme"), import_name("launch"))) void launch(void);

int main(void) {
  launch();
  return 0;
}
