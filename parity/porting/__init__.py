"""One port put to the question: four workers hold somebody's models, and every layer is compared on its own."""
